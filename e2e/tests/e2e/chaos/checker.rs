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
        user,
        begin,
        end,
        frozen,
        ..
    } = attempt
    else {
        return None;
    };
    let is_of_key = |key: &String| user.id == user_id(key);
    let is_its_own = operation.key.as_ref().is_none_or(is_of_key)
        && user.email == operation.email
        && user.name == operation.name;
    if *status == 201 && !is_its_own {
        Some("201 with another user")
    } else if *end - *begin > DEADLINE + SLACK && !frozen {
        Some("an answer after the deadline")
    } else {
        None
    }
}
