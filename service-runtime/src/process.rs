//! The start of a service's process: everything that runs before it serves.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::{logging, metrics, settings::ProcessSettings, signals};

/// Runs a program, and says why it fails. What it has logged is written when it ends.
pub fn main(run: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    let ended = catch_unwind(AssertUnwindSafe(run));
    let code = match ended {
        Ok(Ok(code)) => code,
        Ok(Err(error)) if tracing::dispatcher::has_been_set() => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
        // Logged already. The status is the one that the standard library would give.
        Err(_) => ExitCode::from(101),
    };
    logging::flush();
    code
}

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
