//! End to end: the real binaries, a real PostgreSQL, real sockets.

#![allow(clippy::unwrap_used)]

mod cargo_run;
mod chaos;
mod documents;
mod proxy;
mod services;
mod support;
