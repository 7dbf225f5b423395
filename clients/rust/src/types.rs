//! Users, outcomes, errors and options, as callers of the client see them.

use std::time::Duration;

use uuid::Uuid;

/// A user to create, with the id that makes creating it safe to repeat.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Chosen by the caller, and the same for each repetition.
    pub id: Uuid,
    /// The service trims and checks it: ASCII, at most 254 bytes, with a dotted domain.
    pub email: String,
    /// The service trims and checks it: 1 to 200 characters.
    pub name: String,
}

/// A stored user.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct User {
    /// A UUID.
    pub id: String,
    /// In the letter case that was given.
    pub email: String,
    /// Without spaces around it.
    pub name: String,
}

/// A fault of one field.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FieldError {
    /// Name of the field, or empty for the request as a whole.
    pub field: String,
    /// What would be right; completes a sentence that starts with the field's name.
    pub reason: String,
}

/// What became of a create.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CreateOutcome {
    /// The user is stored durably.
    Stored {
        /// The stored row.
        user: User,
        /// Whether it is known that an earlier call with the same id, email and name stored it. `false` when
        /// this call may have stored it itself, by an attempt whose answer was lost.
        replayed: bool,
    },
    /// The user breaks rules; these are all faults.
    Invalid(Vec<FieldError>),
    /// Another user has this e-mail address.
    EmailTaken,
    /// The id belongs to a user with another email or name.
    IdConflict,
}

/// What became of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListOutcome {
    /// Some users, in the order of their ids.
    Page {
        /// At most `page_size`.
        users: Vec<User>,
        /// Where the next page begins; empty on the last page.
        next_page_token: String,
    },
    /// The size or the token breaks rules; these are all faults.
    Invalid(Vec<FieldError>),
}

/// Why a call has no outcome. The texts are for logs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Nothing was written; a later attempt may succeed.
    #[error("unavailable, nothing was written: {0}")]
    NotExecuted(String),
    /// The call may or may not have been carried out. Creating again with the same id, which is the one of
    /// the [`NewUser`], settles it.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The service is too old to have this method. Nothing was written.
    #[error("unimplemented: the users service has no such method")]
    Unimplemented,
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, CallError>;

/// Settings of a call.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long the call may take, retries included.
    pub timeout: Duration,
    /// The caller's span (W3C Trace Context); empty without a trace.
    pub traceparent: String,
}

impl Default for CallOptions {
    /// A timeout of five seconds, and no trace.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            traceparent: String::new(),
        }
    }
}
