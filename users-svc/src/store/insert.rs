//! Exactly-once insertion: what became of each user of a batch, whatever broke on the way.
//!
//! The row is the idempotency record. A batch is inserted by one statement, which commits on its own;
//! what was not inserted is explained by the rows that stood in the way. When an attempt may have written
//! and its answer is lost, the batch is attempted once more with the same ids, which finds out.

use std::collections::{HashMap, HashSet};
use std::slice;
use std::time::Instant;

use postgres::Client;
use uuid::Uuid;

use super::Store;
use super::error::StatementError;
use super::pool::Trust;
use super::statements::{Query, SqlResult, UserColumns};
use crate::outcome::{BatchResults, CallFailure, InsertOutcome};
use crate::user::{NewUser, User};

/// Attempts at a batch that meets deadlocks or serialization failures. Callers that reuse ids across
/// e-mail addresses can cause one, and the others of the batch are not to suffer.
const MAX_ATTEMPTS: usize = 4;

/// What became of each user of a batch.
type Results = BatchResults<InsertOutcome>;

/// Why a batch has no outcome.
struct FailedInsert {
    cause: StatementError,
    /// Whether it may have stored rows all the same.
    may_have_written: bool,
}

impl Store {
    /// Inserts users. The results are in the order of `users`.
    pub fn insert(&self, users: &[NewUser]) -> Results {
        match self.insert_together(users) {
            Ok(results) => results,
            // One row's fault is not to be the others'.
            Err(FailedInsert {
                cause: StatementError::ConstraintViolation | StatementError::LockTimeout,
                may_have_written: false,
            }) => self.insert_one_by_one(users),
            Err(failed) => vec![Err(failed.into()); users.len()],
        }
    }

    /// Inserts each user by itself, while there is time.
    fn insert_one_by_one(&self, users: &[NewUser]) -> Results {
        let end = Instant::now() + self.timeout;
        let insert = |user| {
            if Instant::now() >= end {
                return Err(CallFailure::NotExecuted);
            }
            match self.insert_together(slice::from_ref(user)) {
                Ok(mut results) => results.pop().unwrap_or(Err(CallFailure::OutcomeUnknown)),
                Err(FailedInsert {
                    cause: StatementError::ConstraintViolation,
                    may_have_written: false,
                }) => Ok(InsertOutcome::Refused),
                Err(failed) => Err(failed.into()),
            }
        };
        users.iter().map(insert).collect()
    }

    /// Attempts a batch until its outcome is known, or cannot be found out.
    fn insert_together(&self, users: &[NewUser]) -> Result<Results, FailedInsert> {
        let batch = Batch::new(users);
        let mut may_have_written = false;
        let mut cause = StatementError::SerializationFailure;
        for _ in 0..MAX_ATTEMPTS {
            let failed = match self.attempt(&batch, may_have_written) {
                Ok(results) => return Ok(results),
                Err(failed) => failed,
            };

            // The same ids, on a connection that works, tell what became of the batch.
            let can_find_out = failed.may_have_written && !may_have_written;
            may_have_written |= failed.may_have_written;
            cause = failed.cause;
            if !can_find_out && cause != StatementError::SerializationFailure {
                break;
            }
        }
        Err(FailedInsert {
            cause,
            may_have_written,
        })
    }

    /// Inserts the batch once, and explains what was not inserted. When it may have been inserted before,
    /// the attempt must not be lost to a connection that is dead already.
    fn attempt(&self, batch: &Batch, may_have_written: bool) -> Result<Results, FailedInsert> {
        let trust = if may_have_written {
            Trust::Tried
        } else {
            Trust::RecentlyUsed
        };
        let mut has_written = false;
        let attempt = self.pool.run(trust, |client, statements| {
            let inserted = batch.insert(client, &statements.insert)?;
            if inserted.len() == batch.users.len() {
                return Ok(vec![Ok(InsertOutcome::Created); inserted.len()]);
            }

            // The insert has committed: if the next statement fails, these rows are there.
            has_written = !inserted.is_empty();
            let select = &statements.select_conflicts;
            let conflicts = select.users(client, &[&batch.columns.ids, &batch.keys])?;
            Ok(batch.explain(inserted, conflicts))
        });
        attempt.map_err(|cause| FailedInsert {
            cause,
            may_have_written: has_written || cause == StatementError::ConnectionLost,
        })
    }
}

impl From<FailedInsert> for CallFailure {
    fn from(failed: FailedInsert) -> Self {
        if failed.may_have_written {
            Self::OutcomeUnknown
        } else {
            // The statement was not begun, or PostgreSQL has undone it.
            Self::NotExecuted
        }
    }
}

/// Users to insert together, as the statements take them.
struct Batch<'a> {
    users: &'a [NewUser],
    /// What must be unique of each e-mail address, in the order of `users`.
    keys: Vec<String>,
    /// Their rows, in the order of the keys, so that concurrent batches wait for each other's rows and never
    /// in a circle.
    columns: UserColumns<'a>,
}

impl<'a> Batch<'a> {
    fn new(users: &'a [NewUser]) -> Self {
        let keys: Vec<String> = users.iter().map(|user| user.email.unique_key()).collect();
        let mut order: Vec<usize> = (0..users.len()).collect();
        order.sort_unstable_by(|&a, &b| keys[a].cmp(&keys[b]));
        let columns = order.iter().map(|&i| &users[i]).collect();
        Self {
            users,
            keys,
            columns,
        }
    }

    /// Inserts what nothing stands in the way of, and returns the ids of that.
    fn insert(&self, client: &mut Client, insert: &Query) -> SqlResult<HashSet<Uuid>> {
        let rows = insert.rows(client, &self.columns.parameters())?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What became of each user, told by the ids that were inserted and the rows that are there now.
    fn explain(&self, mut inserted: HashSet<Uuid>, conflicts: Vec<User>) -> Results {
        let taken: HashSet<String> = conflicts
            .iter()
            .map(|user| user.email.to_ascii_lowercase())
            .collect();
        let by_id: HashMap<Uuid, User> =
            conflicts.into_iter().map(|user| (user.id, user)).collect();
        let explain = |(user, key): (&NewUser, &String)| match by_id.get(&user.id.uuid()) {
            // The same user may be in the batch twice; it was created once.
            Some(row) if user.is_replay_of(row) && inserted.remove(&row.id) => {
                Ok(InsertOutcome::Created)
            }
            Some(row) if user.is_replay_of(row) => Ok(InsertOutcome::Replayed),
            Some(_) => Ok(InsertOutcome::IdConflict),
            None if taken.contains(key) => Ok(InsertOutcome::EmailTaken),
            // Someone else has deleted since what stood in the way.
            None => Err(CallFailure::NotExecuted),
        };
        self.users.iter().zip(&self.keys).map(explain).collect()
    }
}
