//! Support for tests of the whole system: the real binaries on a real PostgreSQL, real faults between
//! them, and clients that are not ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_docs
)]

pub mod admin;
pub mod certificates;
pub mod database;
pub mod proxy;
pub mod rpc;

mod binaries;
mod http;
mod load;
mod ports;
mod program;
mod system;
mod wait;

pub use binaries::{binary, root};
pub use http::{Answer, Http};
pub use load::{Outcome, under_load};
pub use ports::{free_addr, free_port};
pub use program::Program;
pub use system::{System, healthcheck, healthcheck_with, spawn_users, start_gateway, start_users};
pub use wait::{eventually, eventually_within};
