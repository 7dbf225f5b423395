//! HTTP in, Cap'n Proto out. No business rule and no SQL: it decodes, calls and encodes.

mod body;
mod docs;
mod problem;
mod server;
mod settings;
mod telemetry;
mod upstream;
mod users;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};

use service_runtime::{settings::local, workers};
use tokio_util::sync::CancellationToken;
use users_client::Replicas;

pub use settings::{Command, Config};

/// How long `gateway healthcheck` waits.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves HTTP on `listener` until `shutdown`, then drains.
pub fn run(
    config: &Config,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, users = %config.users_addr, "gateway listening");
    let replicas = Replicas::of(&config.users_addr);
    workers::run(listener, &config.process, shutdown, || {
        server::worker(config, &replicas, shutdown)
    })
}

/// Asks the gateway of this machine whether it is ready, for images without a shell.
#[must_use]
pub fn healthcheck(config: &Config) -> ExitCode {
    match ready(config.http_addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Fails unless the gateway that listens on `addr` of this machine is ready.
pub fn ready(addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&local(addr), HEALTHCHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.lines().next() {
        Some(status) if status.starts_with("HTTP/1.1 200") => Ok(()),
        status => Err(io::Error::other(status.unwrap_or("no answer"))),
    }
}
