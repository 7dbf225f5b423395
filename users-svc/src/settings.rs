//! The settings of the users service.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand};
use postgres::config::SslMode;
use service_runtime::settings::{ProcessSettings, count, milliseconds};

/// The users service: creates, reads and lists users over Cap'n Proto RPC, and keeps them in
/// PostgreSQL.
///
/// Every option is also an environment variable. A file `.env` in the working directory is read
/// first; what the environment has already wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "users-svc", version)]
pub struct Settings {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,

    /// IP address and port to serve Cap'n Proto RPC on. It has neither encryption nor access
    /// control: keep it on a private network.
    #[arg(long, env = "RPC_ADDR", default_value = "0.0.0.0:4001")]
    pub rpc_addr: SocketAddr,

    /// PostgreSQL database, as a URL or as key=value pairs (PostgreSQL documentation, 34.1.1).
    // Parsed by `Settings::database`, because clap shows a value that its parser refuses.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,

    /// Connections to PostgreSQL. At most half of them write at the same time. More writers
    /// make smaller batches; too few leave the server's disk idle between commits.
    #[arg(long, env = "DATABASE_POOL_SIZE", default_value_t = 4, value_parser = count())]
    pub database_pool_size: usize,

    /// Milliseconds that one statement may run, and that a call waits for a connection. Keep three
    /// times of it below the gateway's REQUEST_TIMEOUT_MS, or callers are gone before they are told.
    #[arg(long = "database-timeout-ms", env = "DATABASE_TIMEOUT_MS", default_value = "1500", value_parser = milliseconds)]
    pub database_timeout: Duration,

    /// Prepare statements once on each connection. Turn it off for a pgbouncer that pools transactions
    /// and does not know prepared statements: statements are then parsed anew each time.
    #[arg(
        long,
        env = "DATABASE_PREPARED_STATEMENTS",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub database_prepared_statements: bool,

    /// Bring the schema up to date before serving. Otherwise an old one is a refusal to start, and
    /// `users-svc migrate` does it.
    #[arg(
        long,
        env = "MIGRATE_ON_START",
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub migrate_on_start: bool,

    /// Most users that one statement inserts. Larger batches commit more per second and take
    /// longer each.
    #[arg(long, env = "MAX_BATCH", default_value_t = 128, value_parser = count())]
    pub max_batch: usize,

    /// Calls in flight at once; further ones are answered `overloaded`. Too low refuses what could
    /// be served, too high lets an overload slow down everyone.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 8192, value_parser = count())]
    pub max_in_flight: usize,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessSettings,
}

/// What to do instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Bring the database schema up to date, and exit.
    Migrate,
    /// Ask the service on `RPC_ADDR` whether it is serving. Exit status 0: yes.
    Healthcheck,
}

/// Text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl Settings {
    /// The connection settings that `DATABASE_URL` asks for, with time limits where it has none.
    /// The error does not show the value.
    pub fn database(&self) -> anyhow::Result<postgres::Config> {
        // The parser's error may quote the value.
        let parsed = self
            .database_url
            .as_ref()
            .and_then(|url| url.0.parse().ok());
        let Some(mut config): Option<postgres::Config> = parsed else {
            anyhow::bail!(
                "DATABASE_URL must be set to a URL such as postgres://user:password@host:5432/database, \
                 or to key=value pairs such as \"host=... user=... dbname=...\""
            )
        };
        if config.get_ssl_mode() == SslMode::Require {
            anyhow::bail!(
                "DATABASE_URL asks for TLS (sslmode=require), which users-svc does not speak"
            );
        }
        let limit = self.database_timeout.as_millis();
        // Below the statement's limit, so that a row that someone else has locked is told apart.
        let lock_limit = limit / 2;
        let limits = format!("-c statement_timeout={limit} -c lock_timeout={lock_limit}");
        let options = match config.get_options() {
            // Of a setting that is given twice, the last counts.
            Some(theirs) => format!("{limits} {theirs}"),
            None => limits,
        };
        config.options(&options);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.database_timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name("users-svc");
        }
        // A server that vanished without a word is noticed within ten seconds.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(5));
        }
        config
            .keepalives_idle(Duration::from_secs(4))
            .keepalives_interval(Duration::from_secs(2));
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> anyhow::Result<postgres::Config> {
        Settings::try_parse_from(["users-svc", "--database-url", url])?.database()
    }

    #[test]
    fn a_database_gets_time_limits_unless_it_brings_its_own() {
        let ours = parse("postgres://u:p@h/d").unwrap();
        assert_eq!(
            ours.get_options(),
            Some("-c statement_timeout=1500 -c lock_timeout=750")
        );
        let theirs = parse("host=h user=u connect_timeout=7 options='-c work_mem=1MB'").unwrap();
        assert!(theirs.get_options().unwrap().ends_with("-c work_mem=1MB"));
        assert_eq!(theirs.get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn a_bad_database_url_is_named_and_not_shown() {
        for bad in [
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "host=h password=hunter2 x=y",
        ] {
            let message = format!("{:#}", parse(bad).unwrap_err());
            assert!(
                message.contains("DATABASE_URL") && !message.contains("hunter2"),
                "{message}"
            );
        }
        assert!(
            format!("{:#}", parse("host=h user=u sslmode=require").unwrap_err()).contains("TLS")
        );
    }
}
