//! `DATABASE_URL`: where the database is, with time limits wherever the URL sets none.

use std::time::Duration;

use anyhow::{bail, ensure};
use postgres::Config;
use postgres::config::{Host, SslMode, SslNegotiation};

use super::ssl_options::{Options, TlsPolicy};

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
pub fn parse(url: &str, timeout: Duration) -> anyhow::Result<(Config, TlsPolicy)> {
    let parsed = Options::split(url)?.and_then(|options| {
        // The parser's own error may quote the value.
        let config = options.rest.parse::<Config>().ok()?;
        // It must not know of TLS what was not seen here.
        let is_whole = names_a_host(&config) && config.get_ssl_mode() == SslMode::Prefer;
        is_whole.then_some((config, options))
    });
    let Some((mut config, options)) = parsed else {
        bail!(
            "must be set to a URL such as postgres://user:password@host:5432/database, \
             in which @ : / ? # % in the user and the password are percent-encoded (@ is %40), \
             or to key=value pairs such as \"host=... user=... dbname=...\""
        )
    };
    let policy = options.policy()?;
    choose_stream(&mut config)?;
    set_defaults(&mut config, timeout);
    Ok((config, policy))
}

/// The servers and the database, as `host:port/database`, several servers with commas between them.
pub fn describe(config: &Config) -> String {
    let describe = |(host, port): (String, u16)| {
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    };
    let servers: Vec<_> = servers(config).into_iter().map(describe).collect();
    format!("{}/{}", servers.join(","), database(config))
}

/// The host, or the folder of the socket, and the port of each server.
pub fn servers(config: &Config) -> Vec<(String, u16)> {
    const DEFAULT_PORT: u16 = 5432;
    let ports = config.get_ports();
    let servers = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let host = match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        // One port is for all hosts.
        let port = ports.get(index).or(ports.first());
        (host, *port.unwrap_or(&DEFAULT_PORT))
    });
    servers.collect()
}

/// The name of the database.
pub fn database(config: &Config) -> &str {
    // It is called like the user by default (PostgreSQL documentation, section 34.1.2).
    let database = config.get_dbname().or(config.get_user());
    database.unwrap_or_default()
}

/// Has the driver leave the stream to the connector, or not at all.
fn choose_stream(config: &mut Config) -> anyhow::Result<()> {
    ensure!(
        config.get_ssl_negotiation() == SslNegotiation::Postgres,
        "sslnegotiation=direct is not supported, leave it out"
    );
    if config.get_hosts().is_empty() {
        // The driver asks no connector about an address without a name.
        for address in config.get_hostaddrs().to_vec() {
            config.host(&address.to_string());
        }
    }

    let is_socket = |host: &Host| !matches!(host, Host::Tcp(_));
    let sockets = config.get_hosts().iter().filter(|host| is_socket(host));
    if sockets.count() == 0 {
        // The connector gets the stream before anything is sent on it.
        config.ssl_mode(SslMode::Require);
        config.ssl_negotiation(SslNegotiation::Direct);
    } else {
        // No connector gets the stream of a Unix-domain socket, on which only the server's own limits hold.
        ensure!(
            config.get_hosts().iter().all(is_socket) && config.get_hostaddrs().is_empty(),
            "it must name either Unix-domain sockets or hosts, not both"
        );
        config.ssl_mode(SslMode::Disable);
    }
    Ok(())
}

/// Sets what the URL does not bring: limits of time, and that the server tells of its warnings, of which one is that
/// a commit may not be durable.
fn set_defaults(config: &mut Config, timeout: Duration) {
    let settings = format!(
        "-c statement_timeout={} -c lock_timeout={} -c client_min_messages=warning",
        timeout.as_millis(),
        LOCK_TIMEOUT.as_millis()
    );
    // Of a setting that is given twice, the last counts.
    let options = config
        .get_options()
        .map(|theirs| format!("{settings} {theirs}"));
    config.options(&options.unwrap_or(settings));

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
        Ok(super::parse(url, Duration::from_millis(1500))?.0)
    }

    #[test]
    fn database_gets_settings_unless_the_url_brings_its_own() {
        let ours = parse("postgres://u:p@h/d").unwrap();
        assert_eq!(
            ours.get_options(),
            Some("-c statement_timeout=1500 -c lock_timeout=10 -c client_min_messages=warning")
        );
        let theirs = parse("host=h user=u connect_timeout=7 options='-c work_mem=1MB'").unwrap();
        assert!(theirs.get_options().unwrap().ends_with("-c work_mem=1MB"));
        assert_eq!(theirs.get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn description_names_servers_and_database_and_no_password() {
        for (url, description) in [
            ("postgres://u:hunter2@h/d", "h:5432/d"),
            ("postgres://u:hunter2@h", "h:5432/u"),
            ("host=a,::1 port=1,2 user=u dbname=d", "a:1,[::1]:2/d"),
            ("host=a,b port=1 user=u dbname=d", "a:1,b:1/d"),
            ("hostaddr=10.0.0.1 user=u dbname=d", "10.0.0.1:5432/d"),
            (
                "host=/run/postgresql user=u dbname=d",
                "/run/postgresql:5432/d",
            ),
        ] {
            assert_eq!(describe(&parse(url).unwrap()), description, "{url}");
        }
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
            assert!(message.contains("%40"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn connector_gets_every_stream_but_those_of_sockets() {
        for (url, mode) in [
            ("host=h,[::1] user=u", SslMode::Require),
            ("hostaddr=127.0.0.1 user=u", SslMode::Require),
            ("host=h hostaddr=127.0.0.1 user=u", SslMode::Require),
            ("postgres://h/d?sslmode=disable", SslMode::Require),
            ("postgres://%2Ftmp/d?sslmode=require", SslMode::Disable),
        ] {
            assert_eq!(parse(url).unwrap().get_ssl_mode(), mode, "{url}");
        }
        for (url, says) in [
            ("host=/tmp,h user=u", "not both"),
            ("host=/tmp hostaddr=127.0.0.1 user=u", "not both"),
            (
                "host=h sslmode=require sslnegotiation=direct",
                "leave it out",
            ),
        ] {
            let message = format!("{:#}", parse(url).unwrap_err());
            assert!(message.contains(says), "{message}");
        }
    }
}
