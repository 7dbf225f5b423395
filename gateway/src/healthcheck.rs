//! The `healthcheck` subcommand: asks the gateway of this machine whether it is ready.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use credentials::connect_unverified;
use service_runtime::health;

use crate::settings::Settings;

/// Asks the gateway of this machine whether it is ready, and returns the exit status for that.
#[must_use]
pub fn healthcheck(settings: &Settings) -> ExitCode {
    health::exit_code(&ready(settings))
}

/// Fails unless the gateway of this machine with these settings is ready.
fn ready(settings: &Settings) -> anyhow::Result<()> {
    let addrs = health::local_addrs(settings.http_addr);
    let connect = |addr| TcpStream::connect_timeout(addr, health::TIMEOUT).ok();
    let stream = addrs
        .iter()
        .find_map(connect)
        .context("it takes no connection")?;
    stream.set_read_timeout(Some(health::TIMEOUT))?;
    if settings.http_tls.cert.is_some() {
        ask(connect_unverified(stream)?)
    } else {
        ask(stream)
    }
}

fn ask(mut stream: impl Read + Write) -> anyhow::Result<()> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    match response.lines().next() {
        Some(status) if status.starts_with("HTTP/1.1 200") => Ok(()),
        status => bail!("{}", status.unwrap_or("no answer")),
    }
}
