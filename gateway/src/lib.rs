//! HTTP in, Cap'n Proto out. No business rule and no SQL: it decodes, calls and encodes.

mod auth;
mod body;
mod client_address;
mod cors;
mod docs;
mod field_error;
#[cfg(test)]
mod fuzz;
mod healthcheck;
mod host;
mod idempotency;
mod keep_alive;
mod limits;
mod probes;
mod problem;
mod rate_limit;
mod refusals;
mod request_context;
mod response;
mod router;
mod security_headers;
mod server;
mod settings;
mod telemetry;
mod upstream;
mod users;
mod users_query;
mod write_guard;

use std::{io, net::TcpListener, sync::Arc};

use service_runtime::{health::Readiness, trace::ServerAddress, workers};
use socket2::SockRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use users_client::Resolver;

use crate::limits::{SOCKET_BUFFER, WRITE_TIMEOUT};
use crate::{rate_limit::RateLimiter, router::Router, server::HttpWorker};
use crate::{telemetry::Telemetry, upstream::Users};

pub use auth::new_key::make_key;
pub use healthcheck::healthcheck;
pub use settings::{Command, Settings};

/// Serves HTTP on `listener` until `shutdown`, then drains. `readiness` is set to what platforms and clients are told.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let (auth, tls) = (settings.auth()?, settings.http_tls.server()?);
    let (addr, over_tls) = (listener.local_addr()?, tls.is_some());
    tracing::info!(%addr, tls = over_tls, users = %settings.users_addr, "gateway listening");
    if !auth.has_keys() && !addr.ip().is_loopback() {
        tracing::warn!(
            "whoever reaches HTTP_ADDR may create and read users: set API_KEYS_FILE, or listen on 127.0.0.1"
        );
    }

    limit_socket_memory(&listener)?;
    telemetry::register_metrics(auth.has_keys());
    refusals::register_metrics();
    upstream::register_metrics(settings.max_in_flight);
    let resolver = Resolver::start(&settings.users_addr, settings.users_tls.client()?);
    let (links, stopping) = (resolver.clone(), shutdown.clone());
    readiness.set(move || {
        if stopping.is_cancelled() {
            return Err("it is stopping");
        }
        links.check_readiness()
    });

    let server = Arc::new(ServerAddress::new(&settings.users_addr.hosts_and_ports()));
    let rate_limiter = settings.rate_limit.map(RateLimiter::new).map(Arc::new);
    let in_flight = Arc::new(Semaphore::new(settings.max_in_flight));
    workers::run(listener, &settings.process, shutdown, || {
        let router = Router {
            users: Users::new(
                resolver.clone(),
                in_flight.clone(),
                settings.request_timeout,
                server.clone(),
            ),
            auth: auth.clone(),
            rate_limiter: rate_limiter.clone(),
            trusted_proxies: settings.trusted_proxies.clone().unwrap_or_default(),
            cors_origins: settings.cors_origins.clone(),
            over_tls,
            telemetry: Telemetry::new(over_tls),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
        };
        HttpWorker::new(
            tls.clone(),
            settings.keep_alive_timeout,
            router.into_service(),
        )
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
