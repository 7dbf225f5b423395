//! Holds every answer that the clients were given against the other answers and the table.

use super::client::{Attempt, Done, Operation};
use super::history::{self, Row, user_id};
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
pub fn check(done: Done, rows: &[Row]) -> Vec<String> {
    let Done { operations, reads } = done;
    let mut events = reads;
    events.extend(history::creates(&operations, rows));
    let mut violations = linearizability::violations(&events, rows);
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
        id,
        begin,
        end,
        frozen,
        ..
    } = attempt
    else {
        return None;
    };
    let of_key = operation.key.as_deref().map(user_id);
    if !matches!(status, 201 | 409 | 422 | 503 | 504) {
        Some("a status that no fault may cause")
    } else if *status == 201 && of_key.is_some() && *id != of_key {
        Some("201 with another id")
    } else if *end - *begin > DEADLINE + SLACK && !frozen {
        Some("an answer after the deadline")
    } else {
        None
    }
}
