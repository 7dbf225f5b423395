//! Whether a process should be sent requests, and the `healthcheck` subcommands that ask it, for images without
//! a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

type Check = dyn Fn() -> Result<(), &'static str> + Send + Sync;

/// Whether this process should be sent requests: the platform's question, which costs nothing to answer. Clones
/// share it.
#[derive(Clone, Default)]
pub struct Readiness(Arc<State>);

#[derive(Default)]
struct State {
    /// Of the service. Unset: the process is starting.
    check: OnceLock<Box<Check>>,
    is_stopping: AtomicBool,
}

impl Readiness {
    /// `check` says why the service is not ready. Only the first one counts.
    pub fn set(&self, check: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static) {
        let _ = self.0.check.set(Box::new(check));
    }

    /// From now on the process is not ready, though it may still serve for a while.
    pub fn stop(&self) {
        self.0.is_stopping.store(true, Relaxed);
    }

    /// Whether the process was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Relaxed)
    }

    /// Fails with why requests should not be sent here.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.is_stopping() {
            return Err("it is stopping");
        }
        self.0
            .check
            .get()
            .map_or(Err("it is starting"), |check| check())
    }
}

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

/// The addresses at which a program of this machine reaches what listens on `addr`, to be tried in turn.
pub fn local_addrs(addr: SocketAddr) -> Vec<SocketAddr> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let ips: Vec<IpAddr> = match addr.ip() {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => vec![v4],
        // It is for IPv4 as well, and a container may have no ::1.
        IpAddr::V6(_) => vec![v6, v4],
    };
    let with_port = |ip| SocketAddr::new(ip, addr.port());
    ips.into_iter().map(with_port).collect()
}
