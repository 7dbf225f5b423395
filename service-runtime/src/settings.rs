//! Settings that both services have, and how settings are read: from the environment, once, at start.
//! Every error names the variable, says what would be right, and shows no secret.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::{env, error::Error as _, ops::RangeInclusive, time::Duration};

use anyhow::{anyhow, bail};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser};

use crate::{dotenv, logging::LogFormat};

/// What operators want to know; of the database driver and the migrations, only what goes wrong.
const DEFAULT_LOG: &str = "info,postgres=warn,refinery_core=warn";

/// Of variables that libraries read by themselves.
const FOREIGN_PREFIXES: [&str; 2] = ["OTEL_", "RUST_"];

/// Settings of a process that serves connections.
#[derive(Args, Clone, Debug)]
pub struct ProcessSettings {
    /// Threads that serve requests. 0: one per core. Fewer leave cores to others; more than cores
    /// only add switches between them.
    #[arg(long, env = "WORKERS", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = number(0..=1024))]
    pub workers: usize,

    /// Connections open at once; further ones wait in the kernel's backlog. Too low turns clients
    /// away, too high lets them use up file descriptors and memory: of the gateway, 2 KiB for one
    /// that idles, 130 KiB for one that holds back the largest body; of the users service, 10 KiB, or 19
    /// over TLS.
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "10000")]
    #[arg(value_parser = number(1..=1_000_000))]
    pub max_connections: usize,

    /// Milliseconds that the process goes on serving after SIGTERM, while it says that it is not ready. Too low,
    /// and those who have not learned yet that it stops meet a closed port; what it adds to the time of each stop
    /// buys nothing where nobody else could serve.
    #[arg(
        long = "shutdown-delay-ms",
        env = "SHUTDOWN_DELAY_MS",
        value_name = "SHUTDOWN_DELAY_MS"
    )]
    #[arg(default_value = "0", value_parser = delay)]
    pub shutdown_delay: Duration,

    /// Milliseconds that requests in flight get to finish after that. Keep the sum of both below the time after
    /// which your platform kills the process.
    #[arg(
        long = "drain-timeout-ms",
        env = "DRAIN_TIMEOUT_MS",
        value_name = "DRAIN_TIMEOUT_MS"
    )]
    #[arg(default_value = "10000", value_parser = milliseconds)]
    pub drain_timeout: Duration,

    /// IP address or host name, and port, to serve `/metrics` for Prometheus on, and `/livez` and `/readyz` for
    /// platforms. Not for the public.
    #[arg(long, env = "ADMIN_ADDR", value_parser = admin_addr)]
    pub admin_addr: Option<SocketAddr>,

    /// Form of the log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log: a level, or directives as of the tracing-subscriber crate.
    #[arg(long, env = "RUST_LOG", default_value = DEFAULT_LOG, value_parser = crate::logging::directives)]
    pub rust_log: String,
}

/// Reads a program's settings: from its arguments, the environment, and `.env` of the working directory.
/// What is set already wins over the file. Ends the process when it was asked for `--help`.
pub fn parse<S: Parser>() -> anyhow::Result<S> {
    dotenv::load()?;
    parse_from(env::args_os())
}

/// The same from these arguments and the environment.
pub fn parse_from<S: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> anyhow::Result<S> {
    let mut command = S::command();
    command.build();
    for name in command.get_arguments().filter_map(clap::Arg::get_env) {
        if env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            bail!("{} must be UTF-8", name.display());
        }
    }
    S::try_parse_from(arguments).map_err(|error| explain(&command, &error))
}

/// Warns of the variables in `.env` that no setting of these programs has and that are not `others`: a misspelt one
/// has no effect.
pub fn warn_of_unknown(programs: &[clap::Command], others: &[&str]) {
    let is_known = |name: &str| {
        let arguments = programs.iter().flat_map(clap::Command::get_arguments);
        let mut settings = arguments.filter_map(clap::Arg::get_env);
        FOREIGN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || others.contains(&name)
            || settings.any(|setting| setting == name)
    };
    let mut names = dotenv::names();
    names.retain(|name| !is_known(name));
    if !names.is_empty() {
        let names = names.join(", ");
        tracing::warn!(
            names,
            "the file .env sets variables that have no effect here"
        );
    }
}

/// Says what is wrong with the value of a variable. Of what is no value, clap's own error is better.
fn explain(command: &clap::Command, error: &clap::Error) -> anyhow::Error {
    let context = |kind| error.get(kind);
    let Some(ContextValue::String(option)) = context(ContextKind::InvalidArg) else {
        error.exit()
    };
    let Some(ContextValue::String(value)) = context(ContextKind::InvalidValue) else {
        error.exit()
    };
    let mut arguments = command.get_arguments();
    let Some(argument) = arguments.find(|argument| argument.to_string() == *option) else {
        error.exit()
    };

    let name = argument.get_env().unwrap_or_default().display();
    let shown = if argument.is_hide_env_values_set() {
        String::new()
    } else {
        format!("={value:?}")
    };
    let what = match (error.source(), context(ContextKind::ValidValue)) {
        (Some(what), _) => what.to_string(),
        (None, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("must be one of {}", valid.join(", "))
        }
        (None, _) => "must not be empty".into(),
    };
    let defaults = argument.get_default_values().iter();
    let example = defaults.map(|default| format!(", for example {name}={}", default.display()));
    anyhow!("{name}{shown}: {what}{}", example.collect::<String>())
}

/// Parses an address to listen on. A name is looked up, now and once.
pub fn listen_addr(text: &str) -> Result<SocketAddr, String> {
    let addrs = text.to_socket_addrs().ok().into_iter().flatten();
    // IPv4 first: a container may know ::1 by name without having it.
    let addr = addrs.min_by_key(SocketAddr::is_ipv6);
    addr.ok_or("must be an IP address or a name of this machine, and a port".into())
}

/// The same, with an example, because there is no default.
fn admin_addr(text: &str) -> Result<SocketAddr, String> {
    listen_addr(text).map_err(|error| error + ", for example ADMIN_ADDR=127.0.0.1:9000")
}

/// Parses a number of milliseconds. Below ten, half of it, which is the database's limit for a contended row,
/// would round to next to nothing, and to no limit at all at one.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 10..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err("must be a number of milliseconds, from 10 to 86400000 (a day)".into()),
    }
}

/// Parses a number of milliseconds that may be 0.
pub fn delay(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 0..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err("must be a number of milliseconds, from 0 to 86400000 (a day)".into()),
    }
}

/// The parser of a number of things.
pub fn number(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "must be a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        assert_eq!(milliseconds("250"), Ok(Duration::from_millis(250)));
        for bad in ["0", "9", "-1", "", "5s", "1e3", "99999999999"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
