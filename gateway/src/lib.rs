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
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
};

use anyhow::bail;
use service_runtime::{health, workers};
use tokio_util::sync::CancellationToken;
use users_client::Resolver;

pub use settings::{Command, Settings};

/// Serves HTTP on `listener` until `shutdown`, then drains.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, users = %settings.users_addr, "gateway listening");
    let replicas = Resolver::start(&settings.users_addr);
    workers::run(listener, &settings.process, shutdown, || {
        server::worker(settings, &replicas, shutdown)
    })
}

/// Asks the gateway of this machine whether it is ready, and returns the exit status for that.
#[must_use]
pub fn healthcheck(settings: &Settings) -> ExitCode {
    health::exit_code(&ready(settings.http_addr))
}

/// Fails unless the gateway that listens on `addr` of this machine is ready.
pub fn ready(addr: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&health::local_addr(addr), health::TIMEOUT)?;
    stream.set_read_timeout(Some(health::TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.lines().next() {
        Some(status) if status.starts_with("HTTP/1.1 200") => Ok(()),
        status => bail!("{}", status.unwrap_or("no answer")),
    }
}
