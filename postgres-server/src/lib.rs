//! A private PostgreSQL server for `cargo run`, tests and benchmarks, and free ports to listen on.

mod binaries;
mod data_dir;
mod portable;
pub mod ports;
mod postmaster;
mod run_as;
mod server;

pub use binaries::Binaries;
pub use data_dir::temporary as temporary_dir;
pub use portable::VARIABLE as DOWNLOAD_VARIABLE;
pub use postmaster::{find as find_postmaster, signal_all as signal_server, wait_until};
pub use run_as::{command, is_reachable};
pub use server::Server;
