//! The gateway, over real sockets, in front of a fake users service.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_keys;
mod browsers;
mod drain;
mod fake_users;
mod fuzz;
mod keep_alive;
mod keys_command;
mod limits;
mod listing;
mod outcomes;
mod protocol;
mod rate_limit;
mod raw;
mod requests;
mod slow_readers;
mod support;
mod upstream;
