//! The Users contract ([`users_capnp`], generated from `users.capnp`) and how to speak it
//! ([`transport`]).

pub mod transport;

/// Code generated from `schema/users.capnp`, whose comments are its documentation.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub mod users_capnp {
    include!(concat!(env!("OUT_DIR"), "/users_capnp.rs"));
}
