//! `healthcheck` subcommands, for images without a shell: they ask the service of this machine, and exit.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// How long a healthcheck waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// The exit status for whether a service is ready; why it is not goes to standard error.
pub fn exit_code(ready: &anyhow::Result<()>) -> ExitCode {
    match ready {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("not ready: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The address at which a program of this machine reaches what listens on `addr`.
pub fn local_addr(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}
