//! A call of a story, as the client under test makes it.

use uuid::Uuid;

use super::trace::{CallRequest, Outcome};
use crate::{CallError, CallOptions, CreateOutcome, LocalClient, NewUser, Result};

/// Makes a call; returns how it ends.
pub async fn make_call(
    client: &LocalClient,
    request: CallRequest,
    options: &CallOptions,
) -> Outcome {
    let id = |user: u32| Uuid::from_u128(user.into());
    match request {
        CallRequest::Get(user) => {
            let read = client.get_user(&id(user).to_string(), options).await;
            outcome_of(read, |_| Outcome::Read)
        }
        CallRequest::Create(user) => {
            let new = NewUser {
                id: id(user),
                email: format!("user-{user}@example.com"),
                name: format!("User {user}"),
            };
            let created = client.create_user(&new, options).await;
            outcome_of(created, |outcome| match outcome {
                CreateOutcome::Stored { replayed: true, .. } => Outcome::Replayed,
                CreateOutcome::Stored { .. } => Outcome::Stored,
                _ => Outcome::Impossible,
            })
        }
    }
}

fn outcome_of<T>(result: Result<T>, answered: impl Fn(T) -> Outcome) -> Outcome {
    match result {
        Ok(answer) => answered(answer),
        Err(CallError::NotExecuted(_)) => Outcome::NotExecuted,
        Err(CallError::OutcomeUnknown(_)) => Outcome::Unknown,
        Err(CallError::Unimplemented) => Outcome::Unimplemented,
    }
}
