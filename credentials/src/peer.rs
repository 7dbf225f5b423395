//! The other end of a connection, as its certificate says who it is.

use std::time::SystemTime;

use rustls::CommonState;

use crate::certificate::Certificate;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The subject alternative names of its certificate: DNS names in lower case, URIs, e-mail and IP addresses.
    pub names: Vec<String>,
    /// When its certificate, or one that leads to its CA, expires.
    pub not_after: SystemTime,
}

impl Peer {
    /// The peer of a connection whose handshake is done; `None` when it has shown no certificate.
    pub fn of(connection: &CommonState) -> Option<Self> {
        let chain = connection.peer_certificates()?;
        let chain: Vec<_> = chain
            .iter()
            .map(Certificate::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let not_after = chain
            .iter()
            .map(|certificate| certificate.validity.end)
            .min()?;
        let names = chain.into_iter().next()?.names;
        Some(Self { names, not_after })
    }
}
