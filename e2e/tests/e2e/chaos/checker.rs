//! Holds every answer that the clients were given against the other answers and the table.

use std::collections::HashMap;

use super::client::{Attempt, Done, Operation};
use super::history::{self, Row};
use super::importer::Imported;
use super::world::World;
use super::{DEADLINE, SLACK, linearizability};

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
pub fn check(done: Done, imported: Imported, rows: &[Row]) -> Vec<String> {
    let Done { operations, reads } = done;
    let mut events = reads;
    events.extend(history::creates(&operations, rows));
    events.extend(imported.creates);
    let mut violations = linearizability::violations(&events, rows);
    violations.extend(imported.violations);
    let by_id: HashMap<&str, &Row> = rows.iter().map(|row| (&*row.id, row)).collect();
    let missing = imported
        .rows
        .iter()
        .filter(|row| by_id.get(&*row.id) != Some(row));
    violations.extend(missing.map(|row| format!("an imported row that is not there: {row:?}")));
    for operation in &operations {
        let wrong = operation.attempts.iter();
        let mut wrong: Vec<&str> = wrong.filter_map(|it| violation(operation, it)).collect();
        if operation.is_open() {
            wrong.push("a retry with the same key did not settle it");
        }
        violations.extend(wrong.iter().map(|wrong| format!("{wrong}: {operation:?}")));
    }
    violations
}

/// What is wrong with an answer, whatever was answered elsewhere.
fn violation(operation: &Operation, attempt: &Attempt) -> Option<&'static str> {
    let Attempt::Answered {
        status,
        user,
        begin,
        end,
        frozen,
        has_new_key,
        ..
    } = attempt
    else {
        return None;
    };
    let is_its_own = operation.id().is_none_or(|id| id == user.id)
        && user.email == operation.email
        && user.name == operation.name;
    if *status == 201 && !is_its_own {
        Some("201 with another user")
    } else if *status == 401 && !has_new_key {
        Some("an API key that is good and was refused")
    } else if *end - *begin > DEADLINE + SLACK && !frozen {
        Some("an answer after the deadline")
    } else {
        None
    }
}
