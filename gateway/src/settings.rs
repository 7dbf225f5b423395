//! The gateway's settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use credentials::{ClientTls, ServerTls, all_or_none};
use service_runtime::settings::{ProcessSettings, listen_addr, milliseconds, number};
use users_client::Endpoints;

use crate::auth::Auth;
use crate::auth::principal::{PrincipalName, Scopes};
use crate::client_address::TrustedProxies;
use crate::cors::Origins;
use crate::rate_limit::RateLimit;

/// HTTP gateway of the users service: takes `POST /users`, `GET /users/{id}` and, with API keys,
/// `GET /users`, and calls the users service over Cap'n Proto RPC.
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

    #[command(flatten)]
    #[allow(missing_docs)]
    pub http_tls: HttpTls,

    /// Host (a name or an IP address) and port of the users service, several with commas between them.
    /// Calls are balanced over every address behind each name, which is looked up every two seconds.
    #[arg(long, env = "USERS_ADDR", default_value = "127.0.0.1:4001")]
    pub users_addr: Endpoints,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub users_tls: UsersTls,

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

    /// Milliseconds that a connection may be idle between two requests. Less than a proxy in front of the
    /// gateway allows makes the proxy answer 502 now and then, because it sends a request while the connection
    /// ends; proxies usually allow 60,000. More keeps connections that nobody needs, which cost little: when
    /// MAX_CONNECTIONS are open, those that have been idle for longest make room.
    #[arg(
        long = "keep-alive-timeout-ms",
        env = "KEEP_ALIVE_TIMEOUT_MS",
        value_name = "KEEP_ALIVE_TIMEOUT_MS"
    )]
    #[arg(default_value = "75000", value_parser = milliseconds)]
    pub keep_alive_timeout: Duration,

    /// Calls to the users service in flight at once; further requests are answered 503. Too low
    /// refuses what could be served, too high lets an overload slow down everyone.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value = "4096")]
    #[arg(value_parser = number(1..=1_000_000))]
    pub max_in_flight: usize,

    /// File with the API keys that clients may send, a line `NAME SCOPES SHA256` each, as `gateway keys`
    /// prints it. It is read again when its content changes. Without a file everyone who can connect may
    /// create and read users; with it, who has no key may do neither.
    #[arg(long, env = "API_KEYS_FILE", value_name = "PATH")]
    pub api_keys_file: Option<PathBuf>,

    /// Requests that a client may send in how many seconds, such as 100/60; further ones are answered 429.
    /// A client is the owner of an API key, or else an address. Too low refuses people who share an address;
    /// too high lets one client use up what all need. Unset: no limit.
    #[arg(long, env = "RATE_LIMIT", value_name = "REQUESTS/SECONDS")]
    pub rate_limit: Option<RateLimit>,

    /// IP addresses and networks of the proxies in front of this gateway, with commas between them. What
    /// their `Forwarded` or `X-Forwarded-For` headers say of a client's address is believed. If a proxy is
    /// missing here, all of its clients share one quota of the rate limit. An address that is no proxy of
    /// yours can pose as any client.
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<TrustedProxies>,

    /// Origins whose pages may use this gateway from a browser (CORS), with commas between them. Unset:
    /// only its own pages.
    #[arg(long, env = "CORS_ORIGINS", value_name = "ORIGINS")]
    pub cors_origins: Option<Origins>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessSettings,
}

/// How HTTP clients know that they speak to this gateway.
#[derive(Args, Clone, Debug)]
pub struct HttpTls {
    /// File with the certificate of this gateway and those that lead to its CA, in PEM. With it, HTTP is spoken
    /// over TLS only. It is read again when it changes, as the next one is.
    #[arg(
        id = "http-tls-cert",
        long = "http-tls-cert",
        env = "HTTP_TLS_CERT",
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM. It may be the same file.
    #[arg(
        id = "http-tls-key",
        long = "http-tls-key",
        env = "HTTP_TLS_KEY",
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,
}

impl HttpTls {
    /// The serving end of HTTP over TLS; `None`: HTTP is plain text.
    pub fn server(&self) -> anyhow::Result<Option<ServerTls>> {
        let files = all_or_none([
            ("HTTP_TLS_CERT", self.cert.as_ref()),
            ("HTTP_TLS_KEY", self.key.as_ref()),
        ]);
        files?.map(ServerTls::https).transpose()
    }
}

/// How the gateway proves to the users service who it is.
#[derive(Args, Clone, Debug)]
pub struct UsersTls {
    /// File with the gateway's certificate and those that lead to its CA, in PEM. With it, the users service is
    /// called over mutual TLS 1.3. It is read again when it changes, as the next two are.
    #[arg(
        id = "users-tls-cert",
        long = "users-tls-cert",
        env = "USERS_TLS_CERT",
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM. It may be the same file.
    #[arg(
        id = "users-tls-key",
        long = "users-tls-key",
        env = "USERS_TLS_KEY",
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,

    /// File with the CAs that sign the users service's certificate, in PEM. The certificate must be for the host
    /// in USERS_ADDR.
    #[arg(
        id = "users-tls-ca",
        long = "users-tls-ca",
        env = "USERS_TLS_CA",
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
}

impl UsersTls {
    /// The calling end of the link to the users service; `None`: in plain text.
    pub fn client(&self) -> anyhow::Result<Option<ClientTls>> {
        let files = all_or_none([
            ("USERS_TLS_CERT", self.cert.as_ref()),
            ("USERS_TLS_KEY", self.key.as_ref()),
            ("USERS_TLS_CA", self.ca.as_ref()),
        ]);
        files?.map(ClientTls::mutual).transpose()
    }
}

impl Settings {
    /// Refuses files that cannot be used.
    pub fn check(&self) -> anyhow::Result<()> {
        self.http_tls.server()?;
        self.users_tls.client()?;
        self.auth()?;
        Ok(())
    }

    /// Whose API keys are accepted.
    pub(crate) fn auth(&self) -> anyhow::Result<Auth> {
        Auth::start(self.api_keys_file.as_deref())
    }
}

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Ask the gateway on `HTTP_ADDR` whether it is ready. Exit status 0: yes.
    Healthcheck,
    /// Make an API key. Its line for `API_KEYS_FILE` goes to standard output, the key to standard error.
    Keys {
        /// Whose key it is: 1 to 64 characters of A-Z a-z 0-9 . _ -. A second key of one name replaces the
        /// first one at leisure: both are accepted while both have a line.
        name: PrincipalName,
        /// What it is for: create, read or create,read.
        scopes: Scopes,
    },
}
