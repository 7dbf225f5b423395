//! Users to insert together: by which statement, and what it tells of each of them.

use std::collections::{HashMap, HashSet};

use postgres::Client;
use uuid::Uuid;

use super::error::is_constraint_violation;
use super::statements::{SqlResult, Statements, UserColumns, WAIT_FOR_STANDBY};
use crate::outcome::{BatchResults, CallFailure, InsertOutcome};
use crate::user::{NewUser, User};

/// What became of each user of a batch.
pub type Results = BatchResults<InsertOutcome>;

/// Users to insert together, as the statements take them.
pub struct Batch<'a> {
    pub users: &'a [&'a NewUser],
    /// What must be unique of each e-mail address, in the order of `users`.
    pub keys: Vec<String>,
    /// Their rows, in the order of the keys, so that concurrent batches wait for each other's rows and never
    /// in a circle.
    pub columns: UserColumns<'a>,
    /// Milliseconds to wait for rows that others are writing, unless it is the time that a batch waits.
    patience: Option<&'a String>,
    /// Whether an e-mail address is in it twice, so that it cannot be inserted whole.
    has_duplicate: bool,
}

impl<'a> Batch<'a> {
    pub fn new(users: &'a [&'a NewUser], patience: Option<&'a String>) -> Self {
        let keys: Vec<String> = users.iter().map(|user| user.email.unique_key()).collect();
        let mut order: Vec<usize> = (0..users.len()).collect();
        // Stable, so that of users with the same key the first one gets it.
        order.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
        let has_duplicate = order.windows(2).any(|pair| keys[pair[0]] == keys[pair[1]]);
        let columns = order.iter().map(|&i| users[i]).collect();
        Self {
            users,
            keys,
            columns,
            patience,
            has_duplicate,
        }
    }

    /// Whether its users may all have the same outcome: none is waited for, and no e-mail address is in it twice.
    pub fn is_uniform(&self) -> bool {
        self.patience.is_none() && !self.has_duplicate
    }

    /// Inserts all users, or none and returns `false`: then [`Batch::insert_skipping_conflicts`] tells more.
    pub fn insert_new(&self, client: &mut Client, statements: &Statements) -> SqlResult<bool> {
        let rows = (statements.insert_new).rows(client, &self.columns.parameters())?;
        rows.first().map_or(Ok(false), |row| row.try_get(0))
    }

    /// Whether all users are there already, and each create of them is a replay.
    pub fn are_replays(&self, client: &mut Client, statements: &Statements) -> SqlResult<bool> {
        let rows = (statements.select_replays).users(client, &[&self.columns.ids])?;
        let by_id: HashMap<Uuid, User> = rows.into_iter().map(|row| (row.id, row)).collect();
        let is_replay = |user: &&NewUser| {
            let row = by_id.get(&user.id.uuid());
            row.is_some_and(|row| user.is_replay_of(row))
        };
        Ok(self.users.iter().all(is_replay))
    }

    /// Inserts what nothing stands in the way of, and returns the ids of that.
    pub fn insert_skipping_conflicts(
        &self,
        client: &mut Client,
        statements: &Statements,
    ) -> SqlResult<HashSet<Uuid>> {
        let [ids, emails, names] = self.columns.parameters();
        let rows = match &self.patience {
            None => {
                let insert = &statements.insert_skipping_conflicts;
                insert.rows(client, &[ids, emails, names])?
            }
            Some(milliseconds) => {
                let insert = &statements.insert_patiently;
                insert.rows(client, &[ids, emails, names, milliseconds])?
            }
        };
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The rows that are there now with the id or the e-mail address of a user.
    pub fn conflicts(&self, client: &mut Client, statements: &Statements) -> SqlResult<Vec<User>> {
        let select = &statements.select_conflicts;
        select.users(client, &[&self.columns.ids, &self.keys])
    }

    /// Whether an error keeps out the only user of the batch.
    pub fn is_refused(&self, error: &postgres::Error) -> bool {
        self.users.len() == 1 && is_constraint_violation(error)
    }

    /// What became of a user whom a constraint or a trigger keeps out. The user may be stored all the same, by a create
    /// from before there was one: PostgreSQL checks it before it looks for conflicts.
    pub fn explain_refusal(
        &self,
        client: &mut Client,
        statements: &Statements,
        may_have_written: bool,
    ) -> SqlResult<Results> {
        let conflicts = self.conflicts(client, statements)?;
        let results = self.explain(HashSet::new(), conflicts, may_have_written);
        if results != [Err(CallFailure::NotExecuted)] {
            return Ok(results);
        }
        // A primary that was replaced lacks what the new one has.
        client.query_typed(WAIT_FOR_STANDBY, &[])?;
        Ok(vec![Ok(InsertOutcome::Refused)])
    }

    /// What became of each user, told by the ids that were inserted and the rows that are there now. When an
    /// attempt before may have written, its own rows are no replays.
    pub fn explain(
        &self,
        mut inserted: HashSet<Uuid>,
        conflicts: Vec<User>,
        may_have_written: bool,
    ) -> Results {
        let taken: HashSet<String> = conflicts.iter().map(User::unique_key).collect();
        let by_id: HashMap<Uuid, User> =
            conflicts.into_iter().map(|user| (user.id, user)).collect();
        let explain = |(user, key): (&&NewUser, &String)| {
            let id = user.id.uuid();
            match by_id.get(&id) {
                // The same user may be in the batch twice; it was created once.
                Some(row) if user.is_replay_of(row) => {
                    let is_created = inserted.remove(&id) || may_have_written;
                    Ok(if is_created {
                        InsertOutcome::Created
                    } else {
                        InsertOutcome::Replayed
                    })
                }
                // Someone else has changed or deleted it since.
                _ if inserted.contains(&id) && self.is_only_one_with(id) => {
                    Ok(InsertOutcome::Created)
                }
                Some(_) => Ok(InsertOutcome::IdConflict),
                None if taken.contains(key) => Ok(InsertOutcome::EmailTaken),
                // Someone else has deleted since what stood in the way, or what this batch or an attempt before
                // inserted.
                None if may_have_written || inserted.contains(&id) => {
                    Err(CallFailure::OutcomeUnknown)
                }
                None => Err(CallFailure::NotExecuted),
            }
        };
        self.users.iter().zip(&self.keys).map(explain).collect()
    }

    fn is_only_one_with(&self, id: Uuid) -> bool {
        let ids = self.columns.ids.iter();
        ids.filter(|other| **other == id).count() == 1
    }
}

#[cfg(test)]
mod tests;
