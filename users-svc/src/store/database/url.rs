//! `DATABASE_URL`: where the database is, with time limits wherever the URL sets none.

use std::time::Duration;

use anyhow::{bail, ensure};
use postgres::Config;
use postgres::config::{Host, SslMode};

/// How long a batch waits for a row that someone else is writing. It is as long as a slow commit, because two
/// batches that each hold a row of the other's would wait in vain, and everyone in them with them.
const LOCK_TIMEOUT: Duration = Duration::from_millis(10);
/// How long the server may leave what was sent to it unacknowledged. With the keep-alive probes, a server
/// that vanished without a word is noticed within ten seconds.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// Parses a URL, or `key=value` pairs (PostgreSQL documentation, section 34.1.1). `timeout` is the limit
/// of a statement and of connecting, unless `url` brings its own. The error does not show `url`.
pub fn parse(url: &str, timeout: Duration) -> anyhow::Result<Config> {
    // The parser's own error may quote the value.
    let Some(mut config) = url.parse::<Config>().ok().filter(names_a_host) else {
        bail!(
            "DATABASE_URL must be set to a URL such as postgres://user:password@host:5432/database, \
             in which @ : / ? # % in the user and the password are percent-encoded (@ is %40), \
             or to key=value pairs such as \"host=... user=... dbname=...\""
        )
    };
    ensure!(
        config.get_ssl_mode() != SslMode::Require,
        "DATABASE_URL asks for TLS (sslmode=require), which users-svc does not speak"
    );

    let limits = format!(
        "-c statement_timeout={} -c lock_timeout={}",
        timeout.as_millis(),
        LOCK_TIMEOUT.as_millis()
    );
    // Of a setting that is given twice, the last counts.
    let options = config
        .get_options()
        .map(|theirs| format!("{limits} {theirs}"));
    config.options(&options.unwrap_or(limits));

    if config.get_connect_timeout().is_none() {
        config.connect_timeout(timeout);
    }
    if config.get_application_name().is_none() {
        config.application_name("users-svc");
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
    }
    config
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL);
    Ok(config)
}

/// Whether it says where the server is. The parser takes for a host what follows an `@` in a password, and
/// the next pair when a value is missing.
fn names_a_host(config: &Config) -> bool {
    let is_host = |host: &Host| match host {
        Host::Tcp(name) => !name.is_empty() && !name.contains(['@', '=']),
        Host::Unix(_) => true,
    };
    let (hosts, addrs) = (config.get_hosts(), config.get_hostaddrs());
    hosts.iter().all(is_host) && !(hosts.is_empty() && addrs.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> anyhow::Result<Config> {
        super::parse(url, Duration::from_millis(1500))
    }

    #[test]
    fn database_gets_time_limits_unless_the_url_brings_its_own() {
        let ours = parse("postgres://u:p@h/d").unwrap();
        assert_eq!(
            ours.get_options(),
            Some("-c statement_timeout=1500 -c lock_timeout=10")
        );
        let theirs = parse("host=h user=u connect_timeout=7 options='-c work_mem=1MB'").unwrap();
        assert!(theirs.get_options().unwrap().ends_with("-c work_mem=1MB"));
        assert_eq!(theirs.get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn bad_url_is_refused_by_name_and_not_shown() {
        for bad in [
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "host=h password=hunter2 x=y",
            // These parse, and name no host or part of the password.
            "",
            "postgres://",
            "postgres:///d",
            "postgres://u:hunter2@/d",
            "user=u password=hunter2",
            "host= user=u password=hunter2",
            "postgres://u:p@hunter2@h/d",
            "postgres://u:p@ss:w/hunter2@h/d",
        ] {
            let message = format!("{:#}", parse(bad).expect_err(bad));
            assert!(message.contains("DATABASE_URL"), "{message}");
            assert!(message.contains("%40"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(
            format!("{:#}", parse("host=h user=u sslmode=require").unwrap_err()).contains("TLS")
        );
    }
}
