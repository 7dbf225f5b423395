//! A client of the Users capability.
//!
//! It keeps a link to each replica of the service and balances its calls over them, connects again by
//! itself, bounds every call by a deadline, and repeats those that repeating can mend.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use users_client::{CreateOutcome, NewUser, UsersClient};
//!
//! let users = UsersClient::connect(&"127.0.0.1:4001".parse()?)?;
//! let new = NewUser {
//!     id: uuid::Uuid::now_v7(),
//!     email: "jane@example.com".into(),
//!     name: "Jane Doe".into(),
//! };
//! match users.create_user(new).await? {
//!     CreateOutcome::Stored { user, replayed } => println!("{} {replayed}", user.id),
//!     other => println!("not created: {other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod link;
mod local;
mod resolver;

use uuid::Uuid;

pub use client::UsersClient;
pub use local::{CallOptions, LocalClient};
pub use resolver::{Endpoints, ParseEndpointsError, Resolver};

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
