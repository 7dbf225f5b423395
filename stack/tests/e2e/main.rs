//! End to end: the real binaries, a real PostgreSQL, real sockets.

#![allow(clippy::unwrap_used)]

mod cargo_run;
mod documents;
mod services;
mod support;
