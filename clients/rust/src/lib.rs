//! A client of the Users capability.
//!
//! The client keeps a link to each replica of the service, balances its calls over them and reconnects
//! by itself. Every call has a deadline, and is retried when a retry can help.
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

mod backoff;
mod balancer;
mod capability;
mod client;
mod dial;
mod endpoints;
mod faults;
mod link;
mod local;
mod many;
mod reconnect;
mod replica_log;
mod resolver;
mod retry;
mod retry_budget;
#[cfg(test)]
mod simulation;
mod telemetry;
mod types;

pub use backoff::Backoff;
pub use client::UsersClient;
pub use credentials::{ClientTls, CredentialFile};
pub use endpoints::{Endpoints, ParseEndpointsError};
pub use local::LocalClient;
pub use many::MAX_USERS;
pub use resolver::Resolver;
pub use types::{
    CallError, CallOptions, CreateOutcome, FieldError, ListOutcome, NewUser, Result, User,
};
