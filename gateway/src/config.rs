//! The gateway's settings.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand};
use process::settings::{ProcessSettings, at_least_one, milliseconds};

/// HTTP gateway of the users service: takes `POST /users` and `GET /users/{id}`, and calls the
/// users service over Cap'n Proto RPC.
///
/// Every option is also an environment variable. A file `.env` in the working directory is read
/// first; what the environment has already wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Config {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,

    /// IP address and port to serve HTTP on.
    #[arg(long, env = "HTTP_ADDR", default_value = "0.0.0.0:3000")]
    pub http_addr: SocketAddr,

    /// Host (a name or an IP address) and port of the users service; several with commas between them.
    #[arg(long, env = "USERS_ADDR", default_value = "127.0.0.1:4001", value_parser = hosts_and_ports)]
    pub users_addr: String,

    /// Milliseconds a request may take, from when its body is read. Too low gives up on requests
    /// that a busy database would have answered; too high keeps clients waiting for a lost one.
    #[arg(long, env = "REQUEST_TIMEOUT_MS", default_value = "5000", value_parser = milliseconds)]
    pub request_timeout_ms: Duration,

    /// Calls to the users service in flight at once; further requests are answered 503. Too low
    /// refuses what could be served, too high lets an overload slow down everyone.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 4096, value_parser = at_least_one)]
    pub max_in_flight: usize,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessSettings,
}

/// What to do instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Ask the gateway on `HTTP_ADDR` whether it is ready. Exit status 0: yes.
    Healthcheck,
}

fn hosts_and_ports(text: &str) -> Result<String, String> {
    let is_good = |one: &str| {
        let port = one
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .map(|(_, port)| port);
        port.and_then(|port| port.parse().ok())
            .is_some_and(|port: u16| port > 0)
    };
    if text.split(',').all(is_good) {
        return Ok(text.to_owned());
    }
    Err("must be host:port, for example users-svc:4001 or [::1]:4001".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_users_service_need_a_host_and_a_port() {
        for good in [
            "127.0.0.1:4001",
            "[::1]:4001",
            "users-svc:4001",
            "a.b.c:1",
            "a:1,b:2",
        ] {
            assert_eq!(hosts_and_ports(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "users-svc",
            ":4001",
            "users-svc:",
            "users-svc:0",
            "users-svc:70000",
            "a:1,b",
            "a:1,",
        ] {
            assert!(hosts_and_ports(bad).is_err(), "{bad}");
        }
    }
}
