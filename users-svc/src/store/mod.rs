//! Users in PostgreSQL: what the service asks its database for.
//!
//! Everything here blocks: call it from the blocking pool, and drop the last [`Store`] outside async
//! code (the driver runs a runtime of its own and panics inside another).

mod error;
mod insert;
mod pool;
mod pool_events;
mod statements;

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use crate::outcome::{BatchResults, CallFailure};
use crate::settings::Settings;
use crate::user::User;
use pool::Pool;
use statements::SELECT_WRITABLE;

/// Users in PostgreSQL.
pub struct Store {
    pool: Pool,
    timeout: Duration,
}

impl Store {
    /// Does not wait for the server to be there. `config` brings the time limits of its statements.
    pub fn new(config: postgres::Config, settings: &Settings) -> Self {
        Self {
            pool: Pool::new(config, settings),
            timeout: settings.database_timeout,
        }
    }

    /// Reads users by id. The results are in the order of `ids`.
    pub fn get(&self, ids: &[Uuid]) -> BatchResults<Option<User>> {
        let read = self
            .pool
            .read(|client, statements| statements.select_by_id.users(client, &[&ids]));
        let Ok(users) = read else {
            return vec![Err(CallFailure::NotExecuted); ids.len()];
        };
        let by_id: HashMap<Uuid, User> = users.into_iter().map(|user| (user.id, user)).collect();
        ids.iter().map(|id| Ok(by_id.get(id).cloned())).collect()
    }

    /// Reads the `limit` users that follow the id `after`.
    pub fn page(&self, after: Uuid, limit: u32) -> Result<Vec<User>, CallFailure> {
        let limit = i64::from(limit);
        self.pool
            .read(|client, statements| statements.select_page.users(client, &[&after, &limit]))
            .map_err(|_| CallFailure::NotExecuted)
    }

    /// Whether the database answers and takes writes.
    pub fn is_writable(&self) -> bool {
        self.pool
            .read(|client, _| client.query_typed_one(SELECT_WRITABLE, &[])?.try_get(0))
            .unwrap_or(false)
    }
}
