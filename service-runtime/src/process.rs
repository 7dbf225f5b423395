//! The start of a service's process: everything that runs before it serves.

use std::env;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::health::Readiness;
use crate::logging::{self, LogFormat};
use crate::{metrics, settings::ProcessSettings, signals};

/// Runs the program of `service`, and says why it fails. What it has logged is written when it ends.
pub fn main(service: &str, run: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    let ended = catch_unwind(AssertUnwindSafe(run));
    // Settings that are refused are refused before logging starts.
    if matches!(ended, Ok(Err(_))) && env::var("LOG_FORMAT").is_ok_and(|it| it == "json") {
        logging::init(service, LogFormat::Json, "info");
    }
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
    /// Cancelled by the first SIGTERM or SIGINT, after the shutdown delay.
    pub shutdown: CancellationToken,
    /// What the platform is told; the service sets it.
    pub readiness: Readiness,
    #[cfg(feature = "otlp")]
    _exporter: Option<crate::trace::otlp::Exporter>,
}

impl Process {
    /// Starts to export traces, to serve metrics and to handle signals. `service` names it in traces and metrics.
    pub fn start(service: &'static str, settings: &ProcessSettings) -> anyhow::Result<Self> {
        #[cfg(feature = "otlp")]
        let exporter = crate::trace::otlp::init(service)?;
        #[cfg(not(feature = "otlp"))]
        crate::trace::without_otlp::warn_if_told_to_export();
        let readiness = Readiness::default();
        if let Some(addr) = settings.admin_addr {
            let listener = listen("ADMIN_ADDR", addr)?;
            metrics::serve(service, listener, readiness.clone())?;
        }
        Ok(Self {
            shutdown: signals::shutdown_on_signal(settings.shutdown_delay, readiness.clone())?,
            readiness,
            #[cfg(feature = "otlp")]
            _exporter: exporter,
        })
    }
}

/// Listens on the address that the environment variable `name` sets. The error says what to change.
pub fn listen(name: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "port {} is taken: stop what listens there, or choose another, for example {name}={}",
            addr.port(),
            SocketAddr::new(addr.ip(), addr.port().wrapping_add(10))
        ),
        ErrorKind::PermissionDenied => anyhow!(
            "only root may listen on port {}: choose one above 1023, for example {name}={}",
            addr.port(),
            SocketAddr::new(addr.ip(), addr.port().wrapping_add(8000))
        ),
        _ => anyhow!("cannot listen on {name}={addr}: {error}"),
    })
}
