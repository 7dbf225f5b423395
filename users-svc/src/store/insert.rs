//! Exactly-once insertion: what became of each user of a batch, whatever broke on the way.
//!
//! The row is the idempotency record. A batch is inserted by the statement that should be the fastest one
//! (`expected.rs`), and where that writes nothing, by one that skips conflicts. Each commits on its own; what was not
//! inserted is explained by the rows that stood in the way. When an attempt may have written and its answer is lost,
//! the batch is attempted once more with the same ids, which finds out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use postgres::Client;

use super::Store;
use super::batch::{Batch, Results};
use super::database::take_durability_warning;
use super::error::StatementError;
use super::expected::Expected;
use super::pool::{Connection, Trust};
use super::statements::{SqlResult, Statements};
use crate::group_commit::Take;
use crate::outcome::{CallFailure, InsertOutcome};
use crate::user::NewUser;

/// Attempts at a batch that meets serialization failures.
const MAX_ATTEMPTS: usize = 4;
/// Parts that a batch is cut into when a row of it is at fault or locked. Each part that fails as well takes
/// the time of a lock timeout, and each that does not is a commit.
const PARTS: usize = 4;

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
        let users: Vec<&NewUser> = users.iter().collect();
        self.insert_on(connection, &users, patience)
    }

    /// Inserts users, first on `connection`.
    pub(super) fn insert_on(
        &self,
        connection: Result<Connection, StatementError>,
        users: &[&NewUser],
        patience: Option<&String>,
    ) -> Results {
        if users.is_empty() {
            return Vec::new();
        }
        let end = Instant::now() + self.timeout;
        match connection {
            Ok(connection) => self.insert_within(end, users, Some(connection), patience),
            Err(_) => vec![Err(CallFailure::NotExecuted); users.len()],
        }
    }

    /// Inserts users together or, as one row's fault is not to be the others', in smaller and smaller parts,
    /// while there is time. The large parts come first, so that those who are in nobody's way get their turn.
    fn insert_within(
        &self,
        end: Instant,
        users: &[&NewUser],
        mut connection: Option<Connection>,
        patience: Option<&String>,
    ) -> Results {
        let mut results = vec![Err(CallFailure::NotExecuted); users.len()];
        let mut parts = VecDeque::new();
        parts.push_back(0..users.len());
        while let Some(part) = parts.pop_front()
            && Instant::now() < end
        {
            let failed =
                match self.insert_together(&users[part.clone()], connection.take(), patience) {
                    Ok(inserted) => {
                        results[part].copy_from_slice(&inserted);
                        continue;
                    }
                    Err(failed) => failed,
                };

            let fault_of_a_row = match (failed.may_have_written, failed.cause) {
                (false, StatementError::ConstraintViolation) => Some(InsertOutcome::Refused),
                (false, StatementError::LockTimeout) => Some(InsertOutcome::Contended),
                _ => None,
            };
            match fault_of_a_row {
                None => results[part].fill(Err(failed.into())),
                Some(fault) if part.len() == 1 => results[part].fill(Ok(fault)),
                Some(_) => {
                    let size = part.len().div_ceil(PARTS);
                    let starts = part.clone().step_by(size);
                    parts.extend(starts.map(|start| start..part.end.min(start + size)));
                }
            }
        }
        results
    }

    /// Attempts a batch again until its outcome is known, or cannot be found out.
    fn insert_together(
        &self,
        users: &[&NewUser],
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
        let mut insert = |client: &mut Client, statements: &Statements| {
            let all = |outcome| Ok(vec![Ok(outcome); batch.users.len()]);
            // Not after an attempt that may have written: its own rows would stand in the way.
            if !may_have_written
                && let Some(outcome) = self.insert_as_expected(batch, client, statements)?
            {
                return all(outcome);
            }
            let inserted = batch.insert_skipping_conflicts(client, statements)?;
            if inserted.len() == batch.users.len() {
                return all(InsertOutcome::Created);
            }

            // The insert has committed: if the next statement fails, these rows are there.
            has_written = !inserted.is_empty();
            let conflicts = batch.conflicts(client, statements)?;
            let results = batch.explain(inserted, conflicts, may_have_written);
            self.expected.set(Expected::after(&results));
            Ok(results)
        };

        take_durability_warning();
        let attempted = connection.and_then(|connection| {
            connection.run(|client, statements| match insert(client, statements) {
                Err(error) if batch.is_refused(&error) => {
                    // This logs it.
                    let _ = StatementError::from(&error);
                    batch.explain_refusal(client, statements, may_have_written)
                }
                done => done,
            })
        });
        let attempted = match attempted {
            Ok(_) if take_durability_warning() => Err(StatementError::NotReplicated),
            attempted => attempted,
        };
        self.note_health(&attempted);
        attempted.map_err(|cause| FailedInsert {
            cause,
            may_have_written: has_written
                || matches!(
                    cause,
                    StatementError::ConnectionLost | StatementError::NotReplicated
                ),
        })
    }

    /// Takes note of whether inserts fail, for reasons that are not a user's.
    fn note_health<T>(&self, attempted: &Result<T, StatementError>) {
        let is_failing = matches!(
            attempted,
            Err(StatementError::Failed | StatementError::ConnectionLost)
        );
        self.is_insert_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Tries the statement that is the fastest one if the users are what is expected. Returns the outcome of each
    /// of them, or `None` when they are something else; then it has written nothing.
    fn insert_as_expected(
        &self,
        batch: &Batch,
        client: &mut Client,
        statements: &Statements,
    ) -> SqlResult<Option<InsertOutcome>> {
        Ok(match self.expected.get() {
            Expected::NewUsers if batch.is_uniform() => {
                let all_are_new = batch.insert_new(client, statements)?;
                all_are_new.then_some(InsertOutcome::Created)
            }
            Expected::Replays if batch.is_uniform() => {
                let all_are_replays = batch.are_replays(client, statements)?;
                if all_are_replays {
                    self.expected.set(Expected::Replays);
                }
                all_are_replays.then_some(InsertOutcome::Replayed)
            }
            _ => None,
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
