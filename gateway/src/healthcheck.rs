//! The `healthcheck` subcommand: asks the gateway of this machine whether it is ready.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;

use anyhow::bail;
use service_runtime::health;

use crate::settings::Settings;

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
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    match response.lines().next() {
        Some(status) if status.starts_with("HTTP/1.1 200") => Ok(()),
        status => bail!("{}", status.unwrap_or("no answer")),
    }
}
