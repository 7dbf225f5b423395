//! Holds every answer that the clients were given against the table.

use std::collections::HashMap;

use uuid::Uuid;

use super::client::{Attempt, Operation};
use super::world::World;
use super::{DEADLINE, SLACK};

/// A row of the table.
pub struct Row {
    pub id: String,
    pub email: String,
    pub name: String,
}

/// All rows of the table.
pub fn rows(world: &World) -> Vec<Row> {
    let select = "SELECT id::text, email, name FROM users";
    let rows = world.sql().unwrap().query(select, &[]).unwrap();
    rows.iter()
        .map(|row| Row {
            id: row.get(0),
            email: row.get(1),
            name: row.get(2),
        })
        .collect()
}

/// The violations of the promise, in words.
pub fn check(operations: &[Operation], rows: &[Row]) -> Vec<String> {
    let table = Table::new(rows);
    let mut violations = Vec::new();
    for operation in operations {
        for wrong in table.violations(operation) {
            violations.push(format!("{wrong}: {operation:?}"));
        }
    }

    let mut unclaimed = table.names;
    for operation in operations {
        unclaimed.remove(&*operation.name);
    }
    for name in unclaimed.keys() {
        violations.push(format!("a row that no one asked for: {name}"));
    }
    violations
}

struct Table<'a> {
    ids: HashMap<&'a str, &'a Row>,
    emails: HashMap<&'a str, &'a Row>,
    names: HashMap<&'a str, Vec<&'a Row>>,
}

impl<'a> Table<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let mut names = HashMap::<&str, Vec<&Row>>::new();
        for row in rows {
            names.entry(&row.name).or_default().push(row);
        }
        Self {
            ids: rows.iter().map(|row| (&*row.id, row)).collect(),
            emails: rows.iter().map(|row| (&*row.email, row)).collect(),
            names,
        }
    }

    /// What is wrong with an operation.
    fn violations(&self, operation: &Operation) -> Vec<&'static str> {
        let its_rows = self.names.get(&*operation.name);
        let its_rows = its_rows.map_or(&[][..], Vec::as_slice);
        let row = its_rows.first().copied();
        let created = operation.statuses().any(|status| status == 201);

        let mut wrong = Vec::new();
        let mut must = |holds: bool, what| {
            if !holds {
                wrong.push(what);
            }
        };
        must(its_rows.len() <= 1, "two rows of one operation");
        must(
            row.is_none_or(|row| row.email == operation.email),
            "a row with another e-mail",
        );
        must(
            row.is_none() || created || operation.is_unknown(),
            "a row, but every answer said that nothing was written",
        );
        must(
            !operation.is_open(),
            "a retry with the same key did not settle it",
        );
        let answers = operation.attempts.iter();
        wrong.extend(answers.filter_map(|answer| self.violation(operation, row, answer)));
        wrong.extend(operation.attempts.iter().filter_map(lateness));
        wrong.extend(false_replay(&operation.attempts));
        wrong
    }

    /// What is wrong with the status of an answer.
    fn violation(
        &self,
        operation: &Operation,
        row: Option<&Row>,
        answer: &Attempt,
    ) -> Option<&'static str> {
        let Attempt::Answered { status, id, .. } = answer else {
            return None;
        };
        match status {
            201 if row.is_none() => Some("201 without a row"),
            201 if row.map(|row| &row.id) != id.as_ref() => Some("201 with another id"),
            409 if row.is_some() && operation.statuses().all(|s| s != 201) => {
                Some("409 with a row")
            }
            409 if !self.emails.contains_key(&*operation.email) => Some("409 without a reason"),
            422 if !self.is_key_of_another(operation) => Some("422 without a reason"),
            201 | 409 | 422 | 503 | 504 => None,
            _ => Some("a status that no fault may cause"),
        }
    }

    /// Whether the operation's key created the user of another operation.
    fn is_key_of_another(&self, operation: &Operation) -> bool {
        let id = operation.key.as_deref().map(user_id);
        let other = id.and_then(|id| self.ids.get(&*id));
        other.is_some_and(|other| other.name != operation.name)
    }
}

/// An answer that says that an earlier request created the user, when none can have.
fn false_replay(attempts: &[Attempt]) -> Option<&'static str> {
    let may_have_created = |attempt: &Attempt| matches!(attempt.status(), None | Some(201 | 504));
    let first = attempts.iter().position(may_have_created);
    let up_to_first = &attempts[..=first?];
    let is_replay =
        |attempt: &Attempt| matches!(attempt, Attempt::Answered { is_replay, .. } if *is_replay);
    up_to_first
        .iter()
        .any(is_replay)
        .then_some("a replay of what no earlier request created")
}

fn lateness(attempt: &Attempt) -> Option<&'static str> {
    match attempt {
        Attempt::Answered { took, frozen, .. } if *took > DEADLINE + SLACK && !frozen => {
            Some("an answer after the deadline")
        }
        _ => None,
    }
}

/// The id that a key means: the contract of `Idempotency-Key`, which must never change.
fn user_id(key: &str) -> String {
    const NAMESPACE: Uuid = uuid::uuid!("6c1c4a5e-6f0b-4f0e-9f6b-3b1f3c5f1d0a");
    Uuid::new_v5(&NAMESPACE, key.as_bytes()).to_string()
}
