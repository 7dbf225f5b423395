//! Exactly-once insertion: what became of each user of a batch, whatever broke on the way.
//!
//! The row is the idempotency record. A batch is inserted by one statement, which commits on its own;
//! what was not inserted is explained by the rows that stood in the way. When an attempt may have written
//! and its answer is lost, the batch is attempted once more with the same ids, which finds out.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use postgres::Client;
use uuid::Uuid;

use super::Store;
use super::database::take_durability_warning;
use super::error::StatementError;
use super::pool::{Connection, Trust};
use super::statements::{SqlResult, Statements, UserColumns};
use crate::group_commit::Take;
use crate::outcome::{BatchResults, CallFailure, InsertOutcome};
use crate::user::{NewUser, User};

/// Attempts at a batch that meets serialization failures.
const MAX_ATTEMPTS: usize = 4;
/// Parts that a batch is cut into when a row of it is at fault or locked. Each part that fails as well takes
/// the time of a lock timeout, and each that does not is a commit.
const PARTS: usize = 4;

/// What became of each user of a batch.
type Results = BatchResults<InsertOutcome>;

/// Why a batch has no outcome.
struct FailedInsert {
    cause: StatementError,
    /// Whether it may have stored rows all the same.
    may_have_written: bool,
}

impl Store {
    /// Inserts users. The results are in the order of the users.
    pub fn insert(&self, take: Take<NewUser>) -> Results {
        self.take_and_insert(take, None)
    }

    /// Inserts users that others are writing at the same time: waits for those, for half of a statement's
    /// time.
    pub fn insert_patiently(&self, take: Take<NewUser>) -> Results {
        let milliseconds = (self.timeout / 2).as_millis();
        self.take_and_insert(take, Some(&milliseconds.to_string()))
    }

    fn take_and_insert(&self, take: Take<NewUser>, patience: Option<&String>) -> Results {
        let connection = self.pool.connection(Trust::RecentlyUsed);
        let users = take();
        if users.is_empty() {
            return Vec::new();
        }
        let end = Instant::now() + self.timeout;
        match connection {
            Ok(connection) => self.insert_within(end, &users, Some(connection), patience),
            Err(_) => vec![Err(CallFailure::NotExecuted); users.len()],
        }
    }

    /// Inserts users together or, as one row's fault is not to be the others', in smaller and smaller parts,
    /// while there is time.
    fn insert_within(
        &self,
        end: Instant,
        users: &[NewUser],
        connection: Option<Connection>,
        patience: Option<&String>,
    ) -> Results {
        if Instant::now() >= end {
            return vec![Err(CallFailure::NotExecuted); users.len()];
        }
        let failed = match self.insert_together(users, connection, patience) {
            Ok(results) => return results,
            Err(failed) => failed,
        };

        let fault_of_a_row = match failed.cause {
            StatementError::ConstraintViolation => InsertOutcome::Refused,
            StatementError::LockTimeout => InsertOutcome::Contended,
            _ => return vec![Err(failed.into()); users.len()],
        };
        match users {
            _ if failed.may_have_written => vec![Err(failed.into()); users.len()],
            [_] => vec![Ok(fault_of_a_row)],
            _ => {
                let parts = users.chunks(users.len().div_ceil(PARTS));
                parts
                    .flat_map(|part| self.insert_within(end, part, None, patience))
                    .collect()
            }
        }
    }

    /// Attempts a batch until its outcome is known, or cannot be found out.
    fn insert_together(
        &self,
        users: &[NewUser],
        mut connection: Option<Connection>,
        patience: Option<&String>,
    ) -> Result<Results, FailedInsert> {
        let batch = Batch::new(users, patience);
        let mut may_have_written = false;
        let mut cause = StatementError::SerializationFailure;
        for _ in 0..MAX_ATTEMPTS {
            let connection = connection.take();
            let failed = match self.attempt(&batch, connection, may_have_written) {
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
    fn attempt(
        &self,
        batch: &Batch,
        connection: Option<Connection>,
        may_have_written: bool,
    ) -> Result<Results, FailedInsert> {
        let trust = if may_have_written {
            Trust::Tried
        } else {
            Trust::RecentlyUsed
        };
        let connection = connection.map_or_else(|| self.pool.connection(trust), Ok);
        let mut has_written = false;
        let insert = |client: &mut Client, statements: &Statements| {
            let inserted = batch.insert(client, statements)?;
            if inserted.len() == batch.users.len() {
                return Ok(vec![Ok(InsertOutcome::Created); inserted.len()]);
            }

            // The insert has committed: if the next statement fails, these rows are there.
            has_written = !inserted.is_empty();
            let select = &statements.select_conflicts;
            let conflicts = select.users(client, &[&batch.columns.ids, &batch.keys])?;
            Ok(batch.explain(inserted, conflicts, may_have_written))
        };

        take_durability_warning();
        let attempted = connection.and_then(|connection| connection.run(insert));
        let attempted = match attempted {
            Ok(_) if take_durability_warning() => Err(StatementError::NotReplicated),
            attempted => attempted,
        };
        self.is_insert_failing.store(
            matches!(attempted, Err(StatementError::Failed)),
            Ordering::Relaxed,
        );
        attempted.map_err(|cause| FailedInsert {
            cause,
            may_have_written: has_written
                || matches!(
                    cause,
                    StatementError::ConnectionLost | StatementError::NotReplicated
                ),
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
    /// Milliseconds to wait for rows that others are writing, unless it is the time that a batch waits.
    patience: Option<&'a String>,
}

impl<'a> Batch<'a> {
    fn new(users: &'a [NewUser], patience: Option<&'a String>) -> Self {
        let keys: Vec<String> = users.iter().map(|user| user.email.unique_key()).collect();
        let mut order: Vec<usize> = (0..users.len()).collect();
        order.sort_unstable_by(|&a, &b| keys[a].cmp(&keys[b]));
        let columns = order.iter().map(|&i| &users[i]).collect();
        Self {
            users,
            keys,
            columns,
            patience,
        }
    }

    /// Inserts what nothing stands in the way of, and returns the ids of that.
    fn insert(&self, client: &mut Client, statements: &Statements) -> SqlResult<HashSet<Uuid>> {
        let [ids, emails, names] = self.columns.parameters();
        let rows = match &self.patience {
            None => statements.insert.rows(client, &[ids, emails, names])?,
            Some(milliseconds) => {
                let insert = &statements.insert_patiently;
                insert.rows(client, &[ids, emails, names, milliseconds])?
            }
        };
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What became of each user, told by the ids that were inserted and the rows that are there now. When an
    /// attempt before may have written, its own rows are no replays.
    fn explain(
        &self,
        mut inserted: HashSet<Uuid>,
        conflicts: Vec<User>,
        may_have_written: bool,
    ) -> Results {
        let taken: HashSet<String> = conflicts.iter().map(User::unique_key).collect();
        let by_id: HashMap<Uuid, User> =
            conflicts.into_iter().map(|user| (user.id, user)).collect();
        let explain = |(user, key): (&NewUser, &String)| match by_id.get(&user.id.uuid()) {
            // The same user may be in the batch twice; it was created once.
            Some(row) if user.is_replay_of(row) => {
                let is_created = inserted.remove(&row.id) || may_have_written;
                Ok(if is_created {
                    InsertOutcome::Created
                } else {
                    InsertOutcome::Replayed
                })
            }
            Some(_) => Ok(InsertOutcome::IdConflict),
            None if taken.contains(key) => Ok(InsertOutcome::EmailTaken),
            // Someone else has deleted since what stood in the way.
            None if may_have_written => Err(CallFailure::OutcomeUnknown),
            None => Err(CallFailure::NotExecuted),
        };
        self.users.iter().zip(&self.keys).map(explain).collect()
    }
}
