//! Users in PostgreSQL: what the service asks its database for.
//!
//! Everything here blocks, for a limited time: call it from the blocking pool, and drop the last [`Store`]
//! outside async code (the driver runs a runtime of its own and panics inside another).

mod batch;
pub mod database;
mod error;
mod expected;
mod insert;
mod insert_many;
mod pool;
mod pool_events;
mod sqlstate;
mod statements;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::types::ToSql;
use uuid::Uuid;

use crate::group_commit::Take;
use crate::outcome::{BatchResults, CallFailure};
use crate::settings::Settings;
use crate::user::User;
use database::Database;
use error::StatementError;
use expected::Expectation;
use pool::{Pool, Trust};
use statements::{INSERT_PROBE, Query, SELECT_WRITABLE, Statements};

/// Users in PostgreSQL.
pub struct Store {
    pool: Pool,
    timeout: Duration,
    /// Whether the server could not carry out the last insert, for example because its disk is full.
    is_insert_failing: AtomicBool,
    /// What the next batch probably holds.
    expected: Expectation,
}

impl Store {
    /// Does not wait for the server to be there.
    pub fn new(database: &Database, settings: &Settings) -> Self {
        Self {
            pool: Pool::new(database, settings),
            timeout: settings.database_timeout,
            is_insert_failing: AtomicBool::new(false),
            expected: Expectation::default(),
        }
    }

    /// Reads users by id. The results are in the order of the ids.
    pub fn get(&self, take: Take<Uuid>) -> BatchResults<Option<User>> {
        self.select_each(take, |known| &known.select_by_id, |user| user.id)
    }

    /// Reads users by what is unique of their e-mail addresses. The results are in the order of the keys.
    pub fn find(&self, take: Take<String>) -> BatchResults<Option<User>> {
        self.select_each(take, |known| &known.select_by_email, User::unique_key)
    }

    /// Reads at most one user for each key, by a statement whose parameter is the keys.
    fn select_each<K: Eq + Hash + Sync + ToSql>(
        &self,
        take: Take<K>,
        select: impl Fn(&Statements) -> &Query,
        key: impl Fn(&User) -> K,
    ) -> BatchResults<Option<User>> {
        let connection = self.pool.connection(Trust::RecentlyUsed);
        let keys = take();
        if keys.is_empty() {
            return Vec::new();
        }
        let read = self.pool.read(connection, |client, statements| {
            select(statements).users(client, &[&keys])
        });
        let Ok(users) = read else {
            return vec![Err(CallFailure::NotExecuted); keys.len()];
        };
        let by_key: HashMap<K, User> = users.into_iter().map(|user| (key(&user), user)).collect();
        keys.iter()
            .map(|key| Ok(by_key.get(key).cloned()))
            .collect()
    }

    /// Reads pages: of each, the id before it and how many users to read.
    pub fn pages(&self, take: Take<(Uuid, u32)>) -> BatchResults<Vec<User>> {
        let mut connection = Some(self.pool.connection(Trust::RecentlyUsed));
        let page = |(after, limit): (Uuid, u32)| {
            let connection = connection.take();
            let connection =
                connection.unwrap_or_else(|| self.pool.connection(Trust::RecentlyUsed));
            let read = self.pool.read(connection, |client, statements| {
                let select = &statements.select_page;
                select.users(client, &[&after, &i64::from(limit)])
            });
            read.map_err(|_| CallFailure::NotExecuted)
        };
        take().into_iter().map(page).collect()
    }

    /// Whether the database answers and takes writes.
    pub fn is_writable(&self) -> bool {
        let connection = self.pool.connection(Trust::RecentlyUsed);
        if !self.is_insert_failing.load(Ordering::Relaxed) {
            let select = |client: &mut postgres::Client| {
                client.query_typed_one(SELECT_WRITABLE, &[])?.try_get(0)
            };
            let read = self.pool.read(connection, |client, _| select(client));
            return read.unwrap_or(false);
        }

        // Only another write tells whether it can be mended by now.
        let probed = connection.and_then(|connection| {
            connection.run(|client, _| {
                let mut transaction = client.transaction()?;
                transaction.batch_execute(INSERT_PROBE)?;
                transaction.rollback()
            })
        });
        let is_writable = matches!(probed, Ok(()) | Err(StatementError::ConstraintViolation));
        self.is_insert_failing
            .fetch_and(!is_writable, Ordering::Relaxed);
        is_writable
    }
}
