//! HTTP in, Cap'n Proto out. No business rule and no SQL: it decodes, calls and encodes.

mod body;
mod docs;
mod field_error;
mod healthcheck;
mod idempotency;
mod limits;
mod probes;
mod problem;
mod request_context;
mod response;
mod router;
mod server;
mod settings;
mod telemetry;
mod upstream;
mod users;

use std::{net::TcpListener, sync::Arc};

use service_runtime::workers;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use users_client::Resolver;

use crate::{router::Router, server::HttpWorker, telemetry::Telemetry, upstream::Users};

pub use healthcheck::{healthcheck, ready};
pub use settings::{Command, Settings};

/// Serves HTTP on `listener` until `shutdown`, then drains.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, users = %settings.users_addr, "gateway listening");
    let resolver = Resolver::start(&settings.users_addr);
    let in_flight = Arc::new(Semaphore::new(settings.max_in_flight));
    workers::run(listener, &settings.process, shutdown, || {
        let router = Router {
            users: Users::new(
                resolver.clone(),
                in_flight.clone(),
                settings.request_timeout,
            ),
            telemetry: Telemetry::new(),
            shutdown: shutdown.clone(),
        };
        HttpWorker::new(router.into_service())
    })
}
