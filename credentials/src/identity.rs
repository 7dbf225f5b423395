//! Who an end of a link is: a certificate with its chain, and the private key that belongs to it.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;

use crate::certificate::{Purpose, read_chain};
use crate::file::Content;
use crate::provider::provider;

/// Who an end of a link is.
pub struct Identity {
    pub key: Arc<CertifiedKey>,
    pub validity: Range<SystemTime>,
    /// The subject alternative names of its certificate.
    pub names: Vec<String>,
}

impl Identity {
    /// Reads a certificate and its private key, in PEM. Both may be in one file.
    pub fn read(cert: &Content, key: &Content, purpose: Purpose) -> anyhow::Result<Self> {
        let (chain, certificate) = read_chain(cert, purpose)?;
        // Its error would say no more.
        let der = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
            key.file
                .error("has no private key in PEM, or an encrypted one")
        })?;
        let matching = CertifiedKey::from_der(chain, der, &provider());
        let certified = matching.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key.file.error(format_args!(
                "is not the key of the certificate in {}",
                cert.file.variable()
            )),
            _ => key
                .file
                .error("has a private key of a kind that is not supported"),
        })?;
        Ok(Self {
            key: Arc::new(certified),
            validity: certificate.validity,
            names: certificate.names,
        })
    }
}
