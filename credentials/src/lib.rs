//! The files that say who may come in: certificates, private keys, lists of keys. They are checked whole
//! before they are used, and read again when their content changes.
//!
//! This crate knows what every link needs of TLS, and nothing about what is spoken over it.

mod certificate;
mod client;
mod expiry;
mod file;
#[cfg(feature = "generate")]
pub mod generate;
mod identity;
mod one_way;
mod peer;
mod provider;
mod server;
mod unverified;
mod watched;

pub use client::ClientTls;
pub use file::{Content, CredentialFile, all_or_none};
pub use one_way::{OneWayTls, ServerCheck, TrustedCas};
pub use peer::Peer;
pub use server::ServerTls;
pub use unverified::connect_unverified;
pub use watched::Watched;
