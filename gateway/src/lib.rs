//! HTTP in, Cap'n Proto out. No business rule and no SQL: it decodes, calls and encodes.

mod auth;
mod body;
mod docs;
mod field_error;
mod healthcheck;
mod host;
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
mod users_query;
mod write_guard;

use std::{io, net::TcpListener, sync::Arc};

use service_runtime::workers;
use socket2::SockRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use users_client::Resolver;

use crate::limits::{SOCKET_BUFFER, WRITE_TIMEOUT};
use crate::{router::Router, server::HttpWorker};
use crate::{telemetry::Telemetry, upstream::Users};

pub use auth::new_key::make_key;
pub use healthcheck::{healthcheck, ready};
pub use settings::{Command, Settings};

/// Serves HTTP on `listener` until `shutdown`, then drains.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, users = %settings.users_addr, "gateway listening");
    limit_socket_memory(&listener)?;
    let resolver = Resolver::start(&settings.users_addr, settings.users_tls.client()?);
    let auth = settings.auth()?;
    let in_flight = Arc::new(Semaphore::new(settings.max_in_flight));
    workers::run(listener, &settings.process, shutdown, || {
        let router = Router {
            users: Users::new(
                resolver.clone(),
                in_flight.clone(),
                settings.request_timeout,
            ),
            auth: auth.clone(),
            telemetry: Telemetry::new(),
            shutdown: shutdown.clone(),
        };
        HttpWorker::new(router.into_service())
    })
}

/// Limits what the kernel keeps of the requests and responses of a client that sends much and reads little,
/// and for how long, also after its connection was closed. Accepted connections inherit the options.
fn limit_socket_memory(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(2 * WRITE_TIMEOUT))?;
    Ok(())
}
