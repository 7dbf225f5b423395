//! The gateway, over real sockets, in front of a fake users service.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod http;
mod limits;
mod support;
