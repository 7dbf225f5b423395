//! What `schema/users.capnp` promises, asked of a real service on a real PostgreSQL.

#![allow(clippy::unwrap_used)]

mod concurrency;
mod creating;
mod creating_many;
mod database_faults;
mod directory;
mod finding;
mod limits;
mod listing;
mod pgbouncer;
mod startup;
mod statements;
mod support;
