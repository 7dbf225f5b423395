//! Settings that both services have, and how settings are read: from the environment, once, at start.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use clap::{Args, builder::RangedU64ValueParser};

use crate::logging::LogFormat;

/// What operators want to know; of the database driver and the migrations, only what goes wrong.
const DEFAULT_LOG: &str = "info,postgres=warn,refinery_core=warn";

/// Settings of a process that serves connections.
#[derive(Args, Clone, Debug)]
pub struct ProcessSettings {
    /// Threads that serve requests. 0: one per core. Fewer leave cores to others; more than cores
    /// only add switches between them.
    #[arg(long, env = "WORKERS", default_value_t = 0, hide_default_value = true)]
    pub workers: usize,

    /// Connections open at once; further ones wait in the kernel's backlog. Too low turns clients
    /// away, too high lets them use up file descriptors and memory: of the gateway, 12 KiB for one
    /// that idles, 130 KiB for one that holds back the largest body; of the users service, 6 KiB.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = count())]
    pub max_connections: usize,

    /// Milliseconds that requests in flight get to finish after SIGTERM. Keep it below the time
    /// after which your platform kills the process.
    #[arg(
        long = "drain-timeout-ms",
        env = "DRAIN_TIMEOUT_MS",
        value_name = "DRAIN_TIMEOUT_MS"
    )]
    #[arg(default_value = "10000", value_parser = milliseconds)]
    pub drain_timeout: Duration,

    /// IP address and port to serve metrics for Prometheus on. Not for the public.
    #[arg(long, env = "ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// Form of the log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log: a level, or directives as of the tracing-subscriber crate.
    #[arg(long, env = "RUST_LOG", default_value = DEFAULT_LOG, value_parser = crate::logging::directives)]
    pub rust_log: String,
}

/// Loads `.env` of the working directory, when there is one, into the environment. What is set
/// already stays.
pub fn load_dotenv() -> anyhow::Result<()> {
    if Path::new(".env").exists() {
        dotenvy::from_filename(".env").context("the file .env cannot be read")?;
    }
    Ok(())
}

/// Parses a number of milliseconds, at least 1.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 1..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err("must be a number of milliseconds, from 1 to 86400000 (a day)".into()),
    }
}

/// The parser of a number of things, of which there must be at least one.
pub fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        assert_eq!(milliseconds("250"), Ok(Duration::from_millis(250)));
        for bad in ["0", "-1", "", "5s", "1e3", "99999999999"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
