//! What was asked of the system and what it answered, as events that each happened at one moment.

use std::collections::HashMap;
use std::time::Instant;

use uuid::Uuid;

use super::client::{Attempt, Operation};
use super::credentials::PRINCIPAL;

/// A user as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// When it was answered; `None`: it may happen at any time after that, or never.
    pub end: Option<Instant>,
    pub asked: Asked,
    pub told: Told,
}

#[derive(Debug)]
pub enum Asked {
    Create(Row),
    Get(String),
    Find(String),
    /// Anything, with an API key that was revoked.
    WithRevokedKey,
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
    /// A status that tells nothing of it.
    #[expect(dead_code, reason = "it is shown with a violation")]
    Status(u16),
}

/// The attempts of these operations that may have had an effect.
pub fn creates(operations: &[Operation], rows: &[Row]) -> Vec<Event> {
    let ids: HashMap<&str, &str> = rows.iter().map(|row| (&*row.name, &*row.id)).collect();
    let mut events = Vec::new();
    for operation in operations {
        let of_key = operation.id();
        // Without a key, the id is known when there is a row.
        let of_row = ids.get(&*operation.name).copied().map(str::to_owned);
        let known = of_key.or(of_row).unwrap_or_default();
        let attempts = operation.attempts.iter();
        events.extend(attempts.filter_map(|attempt| create(operation, attempt, &known)));
    }
    events
}

fn create(operation: &Operation, attempt: &Attempt, known_id: &str) -> Option<Event> {
    let (begin, end, told, id) = match attempt {
        Attempt::Disconnected { begin } => (begin, None, Told::Nothing, known_id),
        Attempt::Answered {
            status,
            user,
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
                // It was refused.
                401 | 503 => return None,
                other => Told::Status(*other),
            };
            let end = (*status != 504).then_some(*end);
            let id = if *status == 201 { &*user.id } else { known_id };
            (begin, end, told, id)
        }
    };
    Some(Event {
        begin: *begin,
        end,
        told,
        asked: Asked::Create(Row {
            id: id.to_owned(),
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
