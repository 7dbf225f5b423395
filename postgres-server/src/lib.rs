//! A private PostgreSQL server for `cargo run`, tests and benchmarks, and free ports to listen on.

mod binaries;
pub mod ports;
mod server;

pub use server::{Server, is_reachable, server_user};
