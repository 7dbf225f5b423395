//! A private PostgreSQL server for `cargo run`, tests and benchmarks, and free ports to listen on.

mod binaries;
mod data_dir;
mod portable;
pub mod ports;
mod postmaster;
mod run_as;
mod server;

pub use run_as::is_reachable;
pub use server::Server;
