//! The pool: a working connection for each statement, and what is kept with it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use postgres::{Client, error::SqlState};
use r2d2_postgres::r2d2;

use super::database::{ConnectionManager, Database, within};
use super::error::StatementError;
use super::pool_events::{ConnectErrors, ConnectionLog, PoolGauges};
use super::statements::{SqlResult, Statements, TERMINATE_SELF};
use crate::settings::Settings;

/// A connection that has been idle for longer is tried before it is trusted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long that trial may take.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(500);

type PooledConnection = r2d2::PooledConnection<ConnectionManager>;
type Connections = r2d2::Pool<ConnectionManager>;

/// Connections to PostgreSQL.
pub struct Pool {
    /// Opened by the first statement, which no call runs before the schema has been checked: a pool that is
    /// of no use yet could take the last connections there are, and the migration would get none.
    connections: LazyLock<Connections, Box<dyn FnOnce() -> Connections + Send>>,
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
    /// Does not wait for the server to be there.
    pub fn new(database: &Database, settings: &Settings) -> Self {
        let timeout = settings.database_timeout;
        let size = u32::try_from(settings.database_pool_size).unwrap_or(u32::MAX);
        let (manager, log) = (
            database.connection_manager(),
            ConnectionLog::new(database.server()),
        );
        let gauges = PoolGauges::new(log.clone(), size);
        let open = move || {
            r2d2::Pool::builder()
                .max_size(size)
                .connection_timeout(timeout)
                // It would cost a round trip each time; `connection` replaces it.
                .test_on_check_out(false)
                .error_handler(Box::new(ConnectErrors(log)))
                .event_handler(Box::new(gauges))
                .build_unchecked(manager)
        };
        Self {
            connections: LazyLock::new(Box::new(open)),
            timeout,
            prepares: settings.database_prepared_statements,
        }
    }

    /// A connection that works as far as one can know. One that failed its trial is broken, and the pool
    /// replaces it when it gets it back.
    pub fn connection(&self, trust: Trust) -> Result<Connection, StatementError> {
        let end = Instant::now() + self.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // Without time left, the pool would still hand out an idle connection.
            let pooled = (!left.is_zero()).then(|| self.connections.get_timeout(left).ok());
            let mut pooled = pooled.flatten().ok_or(StatementError::NoConnection)?;
            let session = PooledConnection::extensions(&pooled).get::<Session>();
            let is_recent = session.is_some_and(|s| s.last_used.elapsed() < TRUSTED_FOR);
            let is_trusted = trust == Trust::RecentlyUsed && is_recent;
            if is_trusted || within(TRIAL_TIMEOUT, || pooled.simple_query("")).is_ok() {
                return Ok(Connection {
                    pooled,
                    // The server's own limit comes first, as it tells that nothing was written.
                    limit: self.timeout + self.timeout / 5,
                    prepares: self.prepares,
                });
            }
        }
    }

    /// Runs statements that only read, again if the connection turns out to be dead.
    pub fn read<T>(
        &self,
        connection: Result<Connection, StatementError>,
        work: impl Fn(&mut Client, &Statements) -> SqlResult<T>,
    ) -> Result<T, StatementError> {
        match connection?.run(&work) {
            Err(StatementError::ConnectionLost) => self.connection(Trust::Tried)?.run(&work),
            done => done,
        }
    }
}

/// Whether an error says that the server is no primary any more, or that a connection behind it broke.
fn is_better_on_another_connection(code: &SqlState) -> bool {
    *code == SqlState::READ_ONLY_SQL_TRANSACTION || code.code().starts_with("08")
}

/// A connection that is out of the pool.
pub struct Connection {
    pooled: PooledConnection,
    limit: Duration,
    prepares: bool,
}

impl Connection {
    /// Runs statements on it, and gives it back. Their time is limited, whatever the server does.
    pub fn run<T>(
        self,
        work: impl FnOnce(&mut Client, &Statements) -> SqlResult<T>,
    ) -> Result<T, StatementError> {
        within(self.limit, || self.run_unlimited(work))
    }

    fn run_unlimited<T>(
        mut self,
        work: impl FnOnce(&mut Client, &Statements) -> SqlResult<T>,
    ) -> Result<T, StatementError> {
        let session = PooledConnection::extensions_mut(&mut self.pooled).remove::<Session>();
        let statements = match session {
            Some(session) => session.statements,
            None => self.prepare()?,
        };

        let done = work(&mut self.pooled, &statements);

        match &done {
            Ok(_) => {
                let last_used = Instant::now();
                PooledConnection::extensions_mut(&mut self.pooled).insert(Session {
                    statements,
                    last_used,
                });
            }
            Err(error) if error.code().is_some_and(is_better_on_another_connection) => {
                let _ = self.pooled.batch_execute(TERMINATE_SELF);
            }
            // The connection prepares anew: its statements may be what is wrong, such as after a change of
            // the schema.
            Err(_) => {}
        }
        done.map_err(|error| StatementError::from(&error))
    }

    /// The statements for a connection that has none yet.
    fn prepare(&mut self) -> Result<Statements, StatementError> {
        let prepared = Statements::new(&mut self.pooled, self.prepares);
        prepared.map_err(|error| match StatementError::from(&error) {
            // Nothing of the work has begun.
            StatementError::ConnectionLost => StatementError::NoConnection,
            other => other,
        })
    }
}
