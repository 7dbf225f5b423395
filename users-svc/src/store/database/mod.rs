//! The database as both the store and the migrations connect to it.

mod connector;
mod durability;
mod roles;
mod ssl_options;
#[cfg(test)]
mod testing;
mod time_limit;
mod url;

use std::time::Duration;

use anyhow::anyhow;
use postgres::{Client, Config};
use r2d2_postgres::PostgresConnectionManager;
use service_runtime::trace::ServerAddress;

use crate::batch_kind::BatchTarget;
use connector::Connector;
pub use durability::{take_durability_warning, warn_unless_durable};
pub use roles::{ensure_sufficient, grant, may_read, warn_if_excessive};
pub use time_limit::within;

/// What the pool makes its connections with.
pub type ConnectionManager = PostgresConnectionManager<Connector>;

/// Where the database is, and how to connect to it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    connector: Connector,
}

impl Database {
    /// Parses the value of the environment variable `variable`. `timeout` is the limit of a statement and of
    /// connecting. The error names the variable and does not show `url`.
    pub fn parse(variable: &str, url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let parse = || {
            let (mut config, policy) = url::parse(url, timeout)?;
            config.notice_callback(|notice| durability::note(&notice));
            let connector = Connector::new(policy, timeout)?;
            anyhow::Ok(Self { config, connector })
        };
        parse().map_err(|error| anyhow!("{variable}: {error:#}"))
    }

    /// The servers and the database, as `host:port/database`, for people.
    pub fn server(&self) -> String {
        url::describe(&self.config)
    }

    /// What batches say of it in their spans.
    pub fn batch_target(&self) -> BatchTarget {
        BatchTarget {
            server: ServerAddress::new(&url::servers(&self.config)),
            namespace: url::database(&self.config).to_owned(),
            collection: "users",
        }
    }

    /// The role that connects, when the URL names one.
    pub fn role(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// Connects, on this thread.
    pub fn connect(&self) -> Result<Client, postgres::Error> {
        self.config.connect(self.connector.clone())
    }

    /// How a pool connects.
    pub fn connection_manager(&self) -> ConnectionManager {
        PostgresConnectionManager::new(self.config.clone(), self.connector.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::database;

    #[test]
    fn database_is_told_by_the_server_and_the_role_of_its_url() {
        let named = database("postgres://jane:hunter2@h:5433/users");
        let nameless = database("host=h dbname=users");

        assert_eq!(named.server(), "h:5433/users");
        assert_eq!(named.role(), Some("jane"));
        assert_eq!(nameless.role(), None);
    }
}
