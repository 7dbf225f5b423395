//! The statements, and how they go to the server: prepared once for each connection, or whole each time.

use postgres::types::{ToSql, Type};
use postgres::{Client, Row, Statement};

use uuid::Uuid;

use crate::user::{NewUser, User};

/// Skips conflicts instead of failing: one user never fails another. Uniqueness is decided by the table
/// alone.
const INSERT_SKIPPING_CONFLICTS: &str = "INSERT INTO users (id, email, name) \
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING RETURNING id";

/// Inserts all users or, where there is a conflict, none. It is faster where there is none: it neither looks into the
/// unique indexes before it writes, nor logs that each speculative insertion is confirmed.
const INSERT_NEW: &str = "SELECT insert_new_users($1, $2, $3)";

/// [`INSERT_SKIPPING_CONFLICTS`] for one user, which waits longer for a row that someone else is writing. The
/// setting holds for this statement only, also behind a pooler of transactions.
const INSERT_PATIENTLY: &str = "INSERT INTO users (id, email, name) \
    SELECT id, email, name FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (id, email, name), \
    set_config('lock_timeout', $4, true) ON CONFLICT DO NOTHING RETURNING id";

/// Reads what stood in the way of users that were not inserted.
///
/// What it finds is answered like a create, so with synchronous standbys it waits for them: by a message in the
/// WAL, which makes the statement a write. The row alone does not tell that they have it: when the server restarts,
/// or ends a connection, rows whose commits were still waiting are there (PostgreSQL documentation, section
/// 27.2.8.4). After a failover they may be gone: then a replay would have acknowledged nothing, and an address
/// would have been refused that nobody has.
const SELECT_CONFLICTS: &str = "SELECT id, email, name, CASE \
    WHEN current_setting('synchronous_standby_names') <> '' \
    THEN pg_logical_emit_message(true, 'users', 'replay') END \
    FROM users WHERE id = ANY($1) OR lower(email COLLATE \"C\") = ANY($2)";

/// [`SELECT_CONFLICTS`] by id only: a replay is found by its id. No insert comes before it, so it finds nothing on a
/// server that takes none, and that may no longer be the primary.
const SELECT_REPLAYS: &str = "SELECT id, email, name, CASE \
    WHEN current_setting('synchronous_standby_names') <> '' \
    THEN pg_logical_emit_message(true, 'users', 'replay') END \
    FROM users WHERE id = ANY($1) AND current_setting('transaction_read_only') = 'off'";

/// Succeeds when the synchronous standbys have what this server has, if there are any.
pub const WAIT_FOR_STANDBY: &str = "SELECT pg_logical_emit_message(true, 'users', 'refusal') \
    WHERE current_setting('synchronous_standby_names') <> ''";

const SELECT_BY_ID: &str = "SELECT id, email, name FROM users WHERE id = ANY($1)";

/// By the expression of the unique index.
const SELECT_BY_EMAIL: &str =
    "SELECT id, email, name FROM users WHERE lower(email COLLATE \"C\") = ANY($1)";

const SELECT_PAGE: &str = "SELECT id, email, name FROM users WHERE id > $1 ORDER BY id LIMIT $2";

/// False on a standby, and on a server that was told to be read-only.
pub const SELECT_WRITABLE: &str = "SELECT current_setting('transaction_read_only') = 'off'";

/// Writes as a create does. It is to be rolled back; no user can have the nil UUID.
pub const INSERT_PROBE: &str = "INSERT INTO users (id, email, name) \
    VALUES ('00000000-0000-0000-0000-000000000000', 'probe', 'probe') ON CONFLICT DO NOTHING";

/// Ends the session it runs in.
pub const TERMINATE_SELF: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

pub type SqlResult<T> = Result<T, postgres::Error>;
type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The statements as one connection knows them.
pub struct Statements {
    pub insert_new: Query,
    pub insert_skipping_conflicts: Query,
    pub insert_patiently: Query,
    pub select_conflicts: Query,
    pub select_replays: Query,
    pub select_by_id: Query,
    pub select_by_email: Query,
    pub select_page: Query,
}

impl Statements {
    /// With `prepare`, prepares them on the connection, which saves parsing and a round trip each time.
    pub fn new(client: &mut Client, prepare: bool) -> SqlResult<Self> {
        let mut query = |sql, types: &'static [Type]| {
            if prepare {
                client.prepare_typed(sql, types).map(Query::Prepared)
            } else {
                Ok(Query::Unprepared(sql, types))
            }
        };
        let users = &[Type::UUID_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY];
        let patiently = &[
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT,
        ];
        Ok(Self {
            insert_new: query(INSERT_NEW, users)?,
            insert_skipping_conflicts: query(INSERT_SKIPPING_CONFLICTS, users)?,
            insert_patiently: query(INSERT_PATIENTLY, patiently)?,
            select_conflicts: query(SELECT_CONFLICTS, &[Type::UUID_ARRAY, Type::TEXT_ARRAY])?,
            select_replays: query(SELECT_REPLAYS, &[Type::UUID_ARRAY])?,
            select_by_id: query(SELECT_BY_ID, &[Type::UUID_ARRAY])?,
            select_by_email: query(SELECT_BY_EMAIL, &[Type::TEXT_ARRAY])?,
            select_page: query(SELECT_PAGE, &[Type::UUID, Type::INT8])?,
        })
    }
}

/// A statement as it goes to the server.
pub enum Query {
    /// By the name it has on its connection.
    Prepared(Statement),
    /// Whole, for a pooler in front of the server that gives each statement another connection.
    Unprepared(&'static str, &'static [Type]),
}

impl Query {
    /// Runs it and returns its rows.
    pub fn rows(&self, client: &mut Client, parameters: &[Parameter]) -> SqlResult<Vec<Row>> {
        match self {
            Self::Prepared(statement) => client.query(statement, parameters),
            Self::Unprepared(sql, types) => {
                let types = types.iter().cloned();
                let pairs: Vec<_> = parameters.iter().copied().zip(types).collect();
                client.query_typed(sql, &pairs)
            }
        }
    }

    /// The same for rows that are users.
    pub fn users(&self, client: &mut Client, parameters: &[Parameter]) -> SqlResult<Vec<User>> {
        let rows = self.rows(client, parameters)?;
        Ok(rows.iter().map(User::from).collect())
    }
}

/// The rows of users to insert, column by column, in the order of the parameters of the insert statements.
#[derive(Default)]
pub struct UserColumns<'a> {
    pub ids: Vec<Uuid>,
    emails: Vec<&'a str>,
    names: Vec<&'a str>,
}

impl UserColumns<'_> {
    /// The parameters of the insert statements.
    pub fn parameters(&self) -> [Parameter<'_>; 3] {
        [&self.ids, &self.emails, &self.names]
    }
}

impl<'a> FromIterator<&'a NewUser> for UserColumns<'a> {
    fn from_iter<I: IntoIterator<Item = &'a NewUser>>(users: I) -> Self {
        let mut columns = Self::default();
        for user in users {
            columns.ids.push(user.id.uuid());
            columns.emails.push(user.email.as_str());
            columns.names.push(user.name.as_str());
        }
        columns
    }
}

impl From<&Row> for User {
    /// The first three columns: id, email, name.
    fn from(row: &Row) -> Self {
        Self {
            id: row.get(0),
            email: row.get(1),
            name: row.get(2),
        }
    }
}
