//! The database as both the store and the migrations connect to it.

mod durability;
mod time_limit;
mod url;

use std::time::Duration;

use postgres::config::{Host, SslMode, SslNegotiation};
use postgres::{Client, Config};
use r2d2_postgres::PostgresConnectionManager;

pub use durability::{take_durability_warning, warn_unless_durable};
use time_limit::TimedConnector;
pub use time_limit::within;

/// What the pool makes its connections with.
pub type ConnectionManager = PostgresConnectionManager<TimedConnector>;

/// Where the database is, and how to connect to it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    connector: TimedConnector,
}

impl Database {
    /// Parses `DATABASE_URL`. `timeout` is the limit of a statement and of connecting. The error does not
    /// show `url`.
    pub fn parse(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let mut config = url::parse(url, timeout)?;
        if config.get_hosts().is_empty() {
            // The driver asks no connector about an address without a name.
            for address in config.get_hostaddrs().to_vec() {
                config.host(&address.to_string());
            }
        }
        // The connector gets the stream before anything is sent on it. It gets none of a Unix-domain socket, on
        // which only the server's own limits hold.
        let is_tcp = |host: &Host| matches!(host, Host::Tcp(_));
        if config.get_hosts().iter().all(is_tcp) {
            config.ssl_mode(SslMode::Require);
            config.ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        config.notice_callback(|notice| durability::note(&notice));
        let connector = TimedConnector { timeout };
        Ok(Self { config, connector })
    }

    /// Connects, on this thread.
    pub fn connect(&self) -> Result<Client, postgres::Error> {
        self.config.connect(self.connector)
    }

    /// How a pool connects.
    pub fn connection_manager(&self) -> ConnectionManager {
        PostgresConnectionManager::new(self.config.clone(), self.connector)
    }
}
