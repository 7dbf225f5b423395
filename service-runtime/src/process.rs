//! The start of a service's process: everything that runs before it serves.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::{metrics, settings::ProcessSettings, signals};

/// What a service's process has from its start to its end.
pub struct Process {
    /// Cancelled by the first SIGTERM or SIGINT.
    pub shutdown: CancellationToken,
    #[cfg(feature = "otlp")]
    _exporter: Option<crate::trace::otlp::Exporter>,
}

impl Process {
    /// Starts to export traces, to serve metrics and to handle signals. `service` names it in traces.
    #[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
    pub fn start(service: &'static str, settings: &ProcessSettings) -> anyhow::Result<Self> {
        #[cfg(feature = "otlp")]
        let exporter = crate::trace::otlp::init(service)?;
        if let Some(addr) = settings.admin_addr {
            metrics::serve(listen("ADMIN_ADDR", addr)?)?;
        }
        Ok(Self {
            shutdown: signals::shutdown_on_signal()?,
            #[cfg(feature = "otlp")]
            _exporter: exporter,
        })
    }
}

/// Listens on the address that the environment variable `name` sets. The error says what to change.
pub fn listen(name: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "port {} is taken: stop what listens there, or choose another, for example {name}={}:{}",
            addr.port(),
            addr.ip(),
            addr.port().wrapping_add(10)
        ),
        _ => anyhow!("cannot listen on {name}={addr}: {error}"),
    })
}
