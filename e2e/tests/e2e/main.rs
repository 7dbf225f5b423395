//! End to end: the real binaries, a real PostgreSQL, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cargo_run;
mod chaos;
mod clients;
mod database;
mod documents;
mod hostile;
mod import;
mod manifests;
mod observed;
mod page;
mod replicas;
mod services;
mod stopping;
