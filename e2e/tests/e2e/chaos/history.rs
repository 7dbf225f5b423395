//! What was asked of the system and what it told, as events that each happened at one moment.

use std::collections::HashMap;
use std::time::Instant;

use uuid::Uuid;

use super::client::{Attempt, Operation};
use super::world::PRINCIPAL;

/// A user as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: String,
    pub email: String,
    pub name: String,
}

/// A question with its answer.
#[derive(Debug)]
pub struct Event {
    /// When it was asked.
    pub begin: Instant,
    /// When it was answered; `None`: it may happen at any time since, or never.
    pub end: Option<Instant>,
    pub asked: Asked,
    pub told: Told,
}

#[derive(Debug)]
pub enum Asked {
    Create(Row),
    Get(String),
    Find(String),
    /// The users whose ids come after one and not after the other one.
    Page {
        after: Option<String>,
        until: Option<String>,
    },
}

#[derive(Debug)]
pub enum Told {
    /// What became of it is unknown.
    Nothing,
    Created {
        is_replay: bool,
    },
    EmailTaken,
    IdConflict,
    /// What there is of what was asked for.
    Rows(Vec<Row>),
}

/// The attempts of these operations, as far as something can have come of them, and what came of it.
pub fn creates(operations: &[Operation], rows: &[Row]) -> Vec<Event> {
    let ids: HashMap<&str, &str> = rows.iter().map(|row| (&*row.name, &*row.id)).collect();
    let mut events = Vec::new();
    for operation in operations {
        let of_key = operation.key.as_deref().map(user_id);
        // Without a key, the id is known when there is a row.
        let of_row = ids.get(&*operation.name).copied().map(str::to_owned);
        let known = of_key.or(of_row).unwrap_or_default();
        let events_of = operation.attempts.iter();
        events.extend(events_of.filter_map(|attempt| create(operation, attempt, &known)));
    }
    events
}

fn create(operation: &Operation, attempt: &Attempt, known_id: &str) -> Option<Event> {
    let (begin, end, told, id) = match attempt {
        Attempt::Disconnected { begin } => (begin, None, Told::Nothing, None),
        Attempt::Answered {
            status,
            id,
            is_replay,
            begin,
            end,
            ..
        } => {
            let told = match status {
                201 => Told::Created {
                    is_replay: *is_replay,
                },
                409 => Told::EmailTaken,
                422 => Told::IdConflict,
                504 => Told::Nothing,
                // Nothing was written. Other statuses are looked at elsewhere.
                _ => return None,
            };
            let end = (*status != 504).then_some(*end);
            let id = id.clone().filter(|_| *status == 201);
            (begin, end, told, id)
        }
    };
    Some(Event {
        begin: *begin,
        end,
        told,
        asked: Asked::Create(Row {
            id: id.unwrap_or_else(|| known_id.to_owned()),
            email: operation.email.clone(),
            name: operation.name.clone(),
        }),
    })
}

/// The id that a key of the clients means: the contract of `Idempotency-Key`, which must never change.
pub fn user_id(key: &str) -> String {
    const PRINCIPALS: Uuid = uuid::uuid!("8f2c60ec-104c-4de3-a263-45009da8d6b2");
    let of_principal = Uuid::new_v5(&PRINCIPALS, PRINCIPAL.as_bytes());
    Uuid::new_v5(&of_principal, key.as_bytes()).to_string()
}
