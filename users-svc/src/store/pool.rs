//! The pool: a working connection for each statement, and what is kept with it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls, error::SqlState};
use r2d2_postgres::{PostgresConnectionManager, r2d2};

use super::error::StatementError;
use super::pool_events::{ConnectErrors, PoolGauges};
use super::statements::{SqlResult, Statements, TERMINATE_SELF};
use crate::settings::Settings;

/// A connection that has been idle for longer is tried before it is trusted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long that trial may take.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(500);

type Manager = PostgresConnectionManager<NoTls>;
type PooledConnection = r2d2::PooledConnection<Manager>;

/// Connections to PostgreSQL.
pub struct Pool {
    /// Opened by the first statement, which no call runs before the schema has been checked: a pool that is
    /// of no use yet could take the last connections there are, and the migration would get none.
    connections: LazyLock<r2d2::Pool<Manager>, Box<dyn FnOnce() -> r2d2::Pool<Manager> + Send>>,
    timeout: Duration,
    prepares: bool,
}

/// Which connections a statement may run on.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Trust {
    /// One that worked within the last second, or that has been tried.
    RecentlyUsed,
    /// Only one that has been tried just now.
    Tried,
}

/// What is kept with a connection. Preparing anew each time would double the round trips.
struct Session {
    statements: Statements,
    last_used: Instant,
}

impl Pool {
    /// Does not wait for the server to be there. `config` brings the time limits of its statements.
    pub fn new(config: postgres::Config, settings: &Settings) -> Self {
        let timeout = settings.database_timeout;
        let size = u32::try_from(settings.database_pool_size).unwrap_or(u32::MAX);
        let open = move || {
            r2d2::Pool::builder()
                .max_size(size)
                .connection_timeout(timeout)
                // It would cost a round trip each time; `working_connection` replaces it.
                .test_on_check_out(false)
                .error_handler(Box::new(ConnectErrors::default()))
                .event_handler(Box::new(PoolGauges::new()))
                .build_unchecked(Manager::new(config, NoTls))
        };
        Self {
            connections: LazyLock::new(Box::new(open)),
            timeout,
            prepares: settings.database_prepared_statements,
        }
    }

    /// Runs statements on a connection.
    pub fn run<T>(
        &self,
        trust: Trust,
        work: impl FnOnce(&mut Client, &Statements) -> SqlResult<T>,
    ) -> Result<T, StatementError> {
        let mut connection = self.working_connection(trust)?;
        let session = PooledConnection::extensions_mut(&mut connection).remove::<Session>();
        let statements = match session {
            Some(session) => session.statements,
            None => self.prepare(&mut connection)?,
        };

        let done = work(&mut connection, &statements);

        match &done {
            Ok(_) => {
                let last_used = Instant::now();
                PooledConnection::extensions_mut(&mut connection).insert(Session {
                    statements,
                    last_used,
                });
            }
            // No primary any more: the next connection may find the one that is.
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                let _ = connection.batch_execute(TERMINATE_SELF);
            }
            // The connection prepares anew: its statements may be what is wrong, such as after a change of
            // the schema.
            Err(_) => {}
        }
        done.map_err(|error| StatementError::from(&error))
    }

    /// Runs statements that only read, again if the connection turns out to be dead.
    pub fn read<T>(
        &self,
        work: impl Fn(&mut Client, &Statements) -> SqlResult<T>,
    ) -> Result<T, StatementError> {
        match self.run(Trust::RecentlyUsed, &work) {
            Err(StatementError::ConnectionLost) => self.run(Trust::Tried, &work),
            done => done,
        }
    }

    /// A connection that works as far as one can know. The pool replaces a dead one when it gets it back.
    fn working_connection(&self, trust: Trust) -> Result<PooledConnection, StatementError> {
        let end = Instant::now() + self.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut connection = self
                .connections
                .get_timeout(left)
                .map_err(|_| StatementError::NoConnection)?;
            let session = PooledConnection::extensions(&connection).get::<Session>();
            let is_recent = session.is_some_and(|s| s.last_used.elapsed() < TRUSTED_FOR);
            if (trust == Trust::RecentlyUsed && is_recent)
                || connection.is_valid(TRIAL_TIMEOUT).is_ok()
            {
                return Ok(connection);
            }
        }
    }

    /// The statements for a connection that has none yet.
    fn prepare(&self, connection: &mut PooledConnection) -> Result<Statements, StatementError> {
        let prepared = Statements::new(connection, self.prepares);
        prepared.map_err(|error| match StatementError::from(&error) {
            // Nothing of the work has begun.
            StatementError::ConnectionLost => StatementError::NoConnection,
            other => other,
        })
    }
}
