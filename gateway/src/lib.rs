//! HTTP in, Cap'n Proto out. No business rule and no SQL: it decodes, calls and encodes.

mod body;
mod docs;
mod field_error;
mod healthcheck;
mod idempotency;
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

use std::net::TcpListener;

use service_runtime::workers;
use tokio_util::sync::CancellationToken;
use users_client::Resolver;

use crate::{server::HttpWorker, upstream::Users};

pub use healthcheck::{healthcheck, ready};
pub use settings::{Command, Settings};

/// Serves HTTP on `listener` until `shutdown`, then drains.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, users = %settings.users_addr, "gateway listening");
    let replicas = Resolver::start(&settings.users_addr);
    // The cap is the process's; each thread watches over its share.
    let max_in_flight = settings
        .max_in_flight
        .div_ceil(workers::count(&settings.process));
    workers::run(listener, &settings.process, shutdown, || {
        let users = Users::new(replicas.clone(), settings.request_timeout, max_in_flight);
        HttpWorker::new(router::service(users, shutdown.clone()))
    })
}
