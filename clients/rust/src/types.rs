//! The users service in types of Rust.

use std::time::Duration;

use uuid::Uuid;

/// A user to create, with the id that makes creating it safe to repeat.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Picked by the caller; the same for each repetition.
    pub id: Uuid,
    /// The service trims and checks it: ASCII, at most 254 bytes, with a dotted domain.
    pub email: String,
    /// The service trims and checks it: 1 to 200 characters.
    pub name: String,
}

/// A stored user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// A UUID.
    pub id: String,
    /// In the case it was given.
    pub email: String,
    /// Trimmed.
    pub name: String,
}

/// One fault of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldError {
    /// Name of the field; empty: the request as a whole.
    pub field: String,
    /// What would be right, as the rest of a sentence that starts with the field's name.
    pub reason: String,
}

/// What became of a user to create.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CreateOutcome {
    /// It is stored, durably.
    Stored {
        /// As it is stored.
        user: User,
        /// It was stored by an earlier call with the same id, email and name.
        replayed: bool,
    },
    /// It breaks rules; these are all faults.
    Invalid(Vec<FieldError>),
    /// Another user has its e-mail address.
    EmailTaken,
    /// Its id belongs to a user with another email or name.
    IdConflict,
}

/// What became of a page to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListOutcome {
    /// Some users, in the order of their ids.
    Page {
        /// At most as many as asked for.
        users: Vec<User>,
        /// Where the next page begins; empty: this is the last.
        next_page_token: String,
    },
    /// The size or the token breaks rules; these are all faults.
    Invalid(Vec<FieldError>),
}

/// Why a call brought no outcome. The texts are for logs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Nothing was written; another try, later, may succeed.
    #[error("unavailable, nothing was written: {0}")]
    NotExecuted(String),
    /// The call may or may not have had its effect. Creating again with the same id settles it.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The service is of a version that has no such method. Nothing was written.
    #[error("unimplemented: the users service has no such method")]
    Unimplemented,
}

/// What a call carries beside its arguments.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long the call may take in all, repetitions included.
    pub timeout: Duration,
    /// The caller's place in a trace (W3C Trace Context); empty: none.
    pub traceparent: String,
}

impl Default for CallOptions {
    /// Five seconds, and no trace.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            traceparent: String::new(),
        }
    }
}
