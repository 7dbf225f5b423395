//! The SQL: users in PostgreSQL, through a pool of blocking connections.
//!
//! Everything here blocks: call it from the blocking pool, and drop the last [`Store`] outside async
//! code (the driver runs a runtime of its own and panics inside another).

mod pool_events;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    sync::LazyLock,
    time::{Duration, Instant},
};

use postgres::{
    Client, NoTls, Row, Statement,
    error::SqlState,
    types::{ToSql, Type},
};
use r2d2_postgres::{
    PostgresConnectionManager,
    r2d2::{Pool, PooledConnection},
};
use uuid::Uuid;

use crate::{
    group_commit::{Answers, Failure},
    user::NewUser,
};
use pool_events::{ConnectErrors, PoolGauges};

/// Conflicts are skipped, not errors: one user never fails another. Uniqueness is decided by the
/// table alone.
const INSERT: &str = "INSERT INTO users (id, email, name) \
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING RETURNING id";
/// What stands in the way of users that were not inserted. A replay is acknowledged like a create, so
/// with synchronous standbys it waits for them: by a message in the WAL, which makes it a write. The row
/// alone does not tell that they have it: when the server restarts, or ends a connection, rows whose
/// commits were still waiting are there (PostgreSQL documentation, section 27.2.8.4).
const SELECT_CONFLICTS: &str = "SELECT id, email, name, CASE \
    WHEN id = ANY($1) AND current_setting('synchronous_standby_names') <> '' \
    THEN pg_logical_emit_message(true, 'users', 'replay') END \
    FROM users WHERE id = ANY($1) OR lower(email COLLATE \"C\") = ANY($2)";
const SELECT_BY_ID: &str = "SELECT id, email, name FROM users WHERE id = ANY($1)";
const SELECT_PAGE: &str = "SELECT id, email, name FROM users WHERE id > $1 ORDER BY id LIMIT $2";
/// Off on a standby, and on a server that was told to be read-only.
const SELECT_WRITABLE: &str = "SELECT current_setting('transaction_read_only') = 'off'";

const END_CONNECTION: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

/// A connection that rested longer than this is tried before it is trusted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long that trial may take.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(500);
/// Runs of a batch that met a deadlock or a serialisation failure; callers that reuse ids across
/// e-mails can cause one, and the others of the batch are not to suffer.
const MAX_RUNS: usize = 4;

/// A stored user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// Its e-mail address.
    pub email: String,
    /// Its name.
    pub name: String,
}

/// What became of a user to insert.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inserted {
    /// It is stored now.
    Created,
    /// It was stored before, with the same id, email and name.
    Replayed,
    /// Another user has its e-mail address.
    EmailTaken,
    /// A user with its id has another email or name.
    IdConflict,
    /// A constraint that we do not know of keeps it out.
    Refused,
}

/// Users in PostgreSQL.
pub struct Store {
    /// Opened by the first call, which is not let through before the schema has been checked: a pool
    /// that is of no use yet could take the last connections there are, and the migration would get none.
    pool: LazyLock<ConnectionPool, Box<dyn FnOnce() -> ConnectionPool + Send>>,
    timeout: Duration,
    prepare: bool,
}

type ConnectionPool = Pool<PostgresConnectionManager<NoTls>>;
type Connection = PooledConnection<PostgresConnectionManager<NoTls>>;

/// What is kept with a pooled connection. Preparing anew each time would double the round trips.
struct Session {
    statements: Statements,
    last_used: Instant,
}

#[derive(Clone)]
struct Statements {
    insert: Query,
    select_conflicts: Query,
    select_by_id: Query,
    select_page: Query,
}

/// A statement as it goes to the server.
#[derive(Clone)]
enum Query {
    /// By the name it has on its connection.
    Prepared(Statement),
    /// Whole each time, for what stands in front of the server and gives each statement another
    /// connection.
    Whole(&'static str, &'static [Type]),
}

/// Why a statement failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trouble {
    /// There was no connection to run it on.
    NoConnection,
    /// The connection broke: the statement may or may not have been carried out.
    Lost,
    /// A row's data is at fault.
    Refused,
    /// A row is locked by someone else for too long.
    Locked,
    /// The server undid it in favour of a concurrent transaction.
    Again,
    /// The server could not do it.
    Failed,
}

impl Store {
    /// A store of at most `pool_size` connections. Does not wait for the server to be there.
    ///
    /// `timeout` bounds the wait for a connection; `config` brings its own limits for statements.
    /// `prepare`: statements are prepared once on each connection.
    #[must_use]
    pub fn new(
        config: postgres::Config,
        pool_size: usize,
        timeout: Duration,
        prepare: bool,
    ) -> Self {
        let open = move || {
            Pool::builder()
                .max_size(u32::try_from(pool_size).unwrap_or(u32::MAX))
                .connection_timeout(timeout)
                // It would cost a round trip each time; see `connection` for what replaces it.
                .test_on_check_out(false)
                .error_handler(Box::new(ConnectErrors::default()))
                .event_handler(Box::new(PoolGauges::new()))
                .build_unchecked(PostgresConnectionManager::new(config, NoTls))
        };
        Self {
            pool: LazyLock::new(Box::new(open)),
            timeout,
            prepare,
        }
    }

    /// Inserts users in one statement, which commits on its own. Answers in the order of `users`.
    pub fn insert(&self, users: &[NewUser]) -> Answers<Inserted> {
        let alone = |user: &NewUser| match self.insert_together(std::slice::from_ref(user)) {
            Ok(mut answers) => answers.pop().unwrap_or(Err(Failure::Unknown)),
            Err(Trouble::Refused) => Ok(Inserted::Refused),
            Err(trouble) => Err(trouble.into()),
        };
        match self.insert_together(users) {
            Ok(answers) => answers,
            // One row's fault is not to be the others': each on its own, while there is time.
            Err(Trouble::Refused | Trouble::Locked) => {
                let end = Instant::now() + self.timeout;
                let in_time = |user| {
                    if Instant::now() < end {
                        alone(user)
                    } else {
                        Err(Failure::Overloaded)
                    }
                };
                users.iter().map(in_time).collect()
            }
            Err(trouble) => vec![Err(trouble.into()); users.len()],
        }
    }

    fn insert_together(&self, users: &[NewUser]) -> Result<Answers<Inserted>, Trouble> {
        let keys: Vec<String> = users.iter().map(|user| user.email.unique_key()).collect();
        // In one order, so that concurrent batches wait for each other's rows and never in a circle.
        let mut order: Vec<usize> = (0..users.len()).collect();
        order.sort_unstable_by(|&a, &b| keys[a].cmp(&keys[b]));
        let ids: Vec<Uuid> = order.iter().map(|&i| users[i].id.uuid()).collect();
        let emails: Vec<&str> = order.iter().map(|&i| users[i].email.as_str()).collect();
        let names: Vec<&str> = order.iter().map(|&i| users[i].name.as_str()).collect();

        let (mut lost, wrote) = (false, Cell::new(false));
        for _ in 0..MAX_RUNS {
            let run = self.run(lost, |client, statements| {
                let rows = statements.insert.rows(client, &[&ids, &emails, &names])?;
                let mut inserted: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
                if inserted.len() == users.len() {
                    return Ok(vec![Ok(Inserted::Created); users.len()]);
                }
                wrote.set(!inserted.is_empty());
                let rows = statements.select_conflicts.rows(client, &[&ids, &keys])?;
                let conflicts = rows.iter().map(User::from).collect();
                Ok(classify(users, &keys, &mut inserted, conflicts))
            });
            match run {
                Ok(answers) => return Ok(answers),
                // A repetition finds out what became of it: the ids are the same.
                Err(trouble) if !lost && (trouble == Trouble::Lost || wrote.get()) => lost = true,
                Err(Trouble::Again) => {}
                Err(_) if lost => return Err(Trouble::Lost),
                Err(trouble) => return Err(trouble),
            }
        }
        Err(if lost { Trouble::Lost } else { Trouble::Again })
    }

    /// Reads users by id. Answers in the order of `ids`.
    pub fn get(&self, ids: &[Uuid]) -> Answers<Option<User>> {
        let read = self.read(|client, statements| statements.select_by_id.rows(client, &[&ids]));
        match read {
            Ok(rows) => {
                let found: HashMap<Uuid, User> = rows
                    .iter()
                    .map(User::from)
                    .map(|user| (user.id, user))
                    .collect();
                ids.iter().map(|id| Ok(found.get(id).cloned())).collect()
            }
            Err(_) => vec![Err(Failure::Overloaded); ids.len()],
        }
    }

    /// Reads the `limit` users that follow the id `after`.
    pub fn page(&self, after: Uuid, limit: i64) -> Result<Vec<User>, Failure> {
        let read =
            self.read(|client, statements| statements.select_page.rows(client, &[&after, &limit]));
        match read {
            Ok(rows) => Ok(rows.iter().map(User::from).collect()),
            Err(_) => Err(Failure::Overloaded),
        }
    }

    /// Whether the database answers and takes writes.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.read(|client, _| client.query_typed_one(SELECT_WRITABLE, &[])?.try_get(0))
            .unwrap_or(false)
    }

    /// Runs a statement that only reads, again if the connection turns out to be dead.
    fn read<T>(
        &self,
        statement: impl Fn(&mut Client, &Statements) -> Result<T, postgres::Error>,
    ) -> Result<T, Trouble> {
        match self.run(false, &statement) {
            Err(Trouble::Lost) => self.run(true, &statement),
            done => done,
        }
    }

    /// Runs statements on a pooled connection; `careful`: only on one that has been tried.
    fn run<T>(
        &self,
        careful: bool,
        work: impl Fn(&mut Client, &Statements) -> Result<T, postgres::Error>,
    ) -> Result<T, Trouble> {
        let mut connection = self.connection(careful).ok_or(Trouble::NoConnection)?;
        let session = PooledConnection::extensions(&connection).get::<Session>();
        let statements = match session {
            Some(session) => session.statements.clone(),
            None => {
                Statements::new(&mut connection, self.prepare).map_err(|e| {
                    match Trouble::from(&e) {
                        // Nothing of the work has begun.
                        Trouble::Lost => Trouble::NoConnection,
                        trouble => trouble,
                    }
                })?
            }
        };
        let done = work(&mut connection, &statements);
        let extensions = PooledConnection::extensions_mut(&mut connection);
        match done {
            Ok(done) => {
                extensions.insert(Session {
                    statements,
                    last_used: Instant::now(),
                });
                Ok(done)
            }
            Err(error) => {
                // Its statements may be what is wrong, such as after a change of the schema.
                extensions.remove::<Session>();
                if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                    // No primary any more: the next connection may find the one that is.
                    let _ = connection.batch_execute(END_CONNECTION);
                }
                Err(Trouble::from(&error))
            }
        }
    }

    /// A connection that works as far as one can know. A dead one is replaced by the pool when it is
    /// given back.
    fn connection(&self, careful: bool) -> Option<Connection> {
        let end = Instant::now() + self.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut connection = self.pool.get_timeout(left).ok()?;
            let session = PooledConnection::extensions(&connection).get::<Session>();
            let trusted = !careful && session.is_some_and(|s| s.last_used.elapsed() < TRUSTED_FOR);
            if trusted || connection.is_valid(TRIAL_TIMEOUT).is_ok() {
                return Some(connection);
            }
        }
    }
}

impl Statements {
    fn new(client: &mut Client, prepare: bool) -> Result<Self, postgres::Error> {
        let mut query = |sql, types: &'static [Type]| {
            if prepare {
                client.prepare_typed(sql, types).map(Query::Prepared)
            } else {
                Ok(Query::Whole(sql, types))
            }
        };
        Ok(Self {
            insert: query(
                INSERT,
                &[Type::UUID_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
            )?,
            select_conflicts: query(SELECT_CONFLICTS, &[Type::UUID_ARRAY, Type::TEXT_ARRAY])?,
            select_by_id: query(SELECT_BY_ID, &[Type::UUID_ARRAY])?,
            select_page: query(SELECT_PAGE, &[Type::UUID, Type::INT8])?,
        })
    }
}

impl Query {
    fn rows(
        &self,
        client: &mut Client,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error> {
        match self {
            Self::Prepared(statement) => client.query(statement, parameters),
            Self::Whole(sql, types) => {
                let types = types.iter().cloned();
                let both: Vec<_> = parameters.iter().copied().zip(types).collect();
                client.query_typed(sql, &both)
            }
        }
    }
}

/// Tells for each of `users` what became of it. `inserted` holds the ids that were inserted,
/// `conflicts` the rows that have an id or an e-mail address of theirs now.
fn classify(
    users: &[NewUser],
    keys: &[String],
    inserted: &mut HashSet<Uuid>,
    conflicts: Vec<User>,
) -> Answers<Inserted> {
    let emails: HashSet<String> = conflicts
        .iter()
        .map(|u| u.email.to_ascii_lowercase())
        .collect();
    let rows: HashMap<Uuid, User> = conflicts.into_iter().map(|user| (user.id, user)).collect();
    let outcome = |(user, key): (&NewUser, &String)| match rows.get(&user.id.uuid()) {
        Some(row) if row.email == user.email.as_str() && row.name == user.name.as_str() => {
            // The same user may be in the batch twice; it was created once.
            if inserted.remove(&row.id) {
                Ok(Inserted::Created)
            } else {
                Ok(Inserted::Replayed)
            }
        }
        Some(_) => Ok(Inserted::IdConflict),
        None if emails.contains(key) => Ok(Inserted::EmailTaken),
        // What stood in the way has been deleted since, by someone else.
        None => Err(Failure::Overloaded),
    };
    users.iter().zip(keys).map(outcome).collect()
}

impl From<&Row> for User {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get(0),
            email: row.get(1),
            name: row.get(2),
        }
    }
}

impl From<&postgres::Error> for Trouble {
    fn from(error: &postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else {
            tracing::warn!(%error, "the connection to PostgreSQL broke");
            return Self::Lost;
        };
        let code = server.code();
        let trouble = match (server.severity(), &code.code()[..2]) {
            // The server ends the connection, perhaps after it has committed.
            ("FATAL" | "PANIC", _) => Self::Lost,
            (_, "22" | "23") => Self::Refused,
            (_, "40") => Self::Again,
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => Self::Locked,
            _ => Self::Failed,
        };
        // Not the message, which can quote the values of a row.
        tracing::warn!(
            code = code.code(),
            ?trouble,
            "PostgreSQL refused a statement"
        );
        trouble
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost => Self::Unknown,
            // The statement was not begun, or PostgreSQL has undone it.
            _ => Self::Overloaded,
        }
    }
}
