//! The gateway's settings.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand};
use service_runtime::settings::{ProcessSettings, listen_addr, milliseconds, number};
use users_client::Endpoints;

/// HTTP gateway of the users service: takes `POST /users` and `GET /users/{id}`, and calls the
/// users service over Cap'n Proto RPC.
///
/// Every option is also an environment variable. A file `.env` in the working directory is read
/// first; what the environment has already wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Settings {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,

    /// IP address or host name, and port, to serve HTTP on.
    #[arg(long, env = "HTTP_ADDR", default_value = "0.0.0.0:3000", value_parser = listen_addr)]
    pub http_addr: SocketAddr,

    /// Host (a name or an IP address) and port of the users service, several with commas between them.
    /// Calls are balanced over every address behind each name, which is looked up every two seconds.
    #[arg(long, env = "USERS_ADDR", default_value = "127.0.0.1:4001")]
    pub users_addr: Endpoints,

    /// Milliseconds from when a request's body has been read to the answer. Too low gives up on
    /// requests that a busy database would have answered; too high keeps clients waiting for a lost
    /// one.
    #[arg(
        long = "request-timeout-ms",
        env = "REQUEST_TIMEOUT_MS",
        value_name = "REQUEST_TIMEOUT_MS"
    )]
    #[arg(default_value = "5000", value_parser = milliseconds)]
    pub request_timeout: Duration,

    /// Calls to the users service in flight at once; further requests are answered 503. Too low
    /// refuses what could be served, too high lets an overload slow down everyone.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value = "4096")]
    #[arg(value_parser = number(1..=1_000_000))]
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
