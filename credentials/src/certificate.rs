//! What a certificate says (RFC 5280), as far as it matters before a handshake and after one.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{anyhow, ensure};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::{DateTime, Decode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};

use crate::file::Content;

/// What an end of a link proves by its certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    Server,
    Client,
}

/// What a certificate says.
#[derive(Debug)]
pub struct Certificate {
    /// The subject alternative names: DNS names in lower case, URIs, e-mail and IP addresses.
    pub names: Vec<String>,
    pub validity: Range<SystemTime>,
    is_ca: bool,
    /// `None`: any.
    extended_key_usage: Option<Vec<ObjectIdentifier>>,
}

impl Certificate {
    pub fn parse(der: &CertificateDer) -> anyhow::Result<Self> {
        // The library's error says nothing that would help.
        let unreadable = |_| anyhow!("has a certificate that cannot be read");
        let parsed = x509_cert::Certificate::from_der(der).map_err(unreadable)?;
        let certificate = parsed.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().map_err(unreadable)?;
        let constraints = certificate.get::<BasicConstraints>().map_err(unreadable)?;
        let usage = certificate.get::<ExtendedKeyUsage>().map_err(unreadable)?;
        Ok(Self {
            names: names.map_or_else(Vec::new, |(_, names)| {
                names.0.iter().filter_map(name).collect()
            }),
            validity: certificate.validity.not_before.to_system_time()
                ..certificate.validity.not_after.to_system_time(),
            is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
            extended_key_usage: usage.map(|(_, usage)| usage.0),
        })
    }

    fn check_time(&self, now: SystemTime) -> anyhow::Result<()> {
        let Range { start, end } = self.validity;
        // Not how long ago: the same error is logged once.
        ensure!(now < end, "its certificate expired at {}", utc(end));
        ensure!(
            start <= now,
            "its certificate is not valid before {}; check this machine's clock",
            utc(start)
        );
        Ok(())
    }

    fn check_purpose(&self, purpose: Purpose) -> anyhow::Result<()> {
        let (needed, name) = match purpose {
            Purpose::Server => (ID_KP_SERVER_AUTH, "serverAuth"),
            Purpose::Client => (ID_KP_CLIENT_AUTH, "clientAuth"),
        };
        let usage = self.extended_key_usage.as_ref();
        ensure!(
            usage.is_none_or(|usage| usage.contains(&needed)),
            "its certificate must be for {name} (extended key usage)"
        );
        Ok(())
    }
}

/// Reads a chain in PEM: the certificate of the end itself, then those that lead to its CA. Returns the chain,
/// and what the first of it says once it was found to be valid now and for its purpose.
pub fn read_chain(
    content: &Content,
    purpose: Purpose,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, Certificate)> {
    let read = || {
        let chain = read_certificates(content)?;
        let first = Certificate::parse(&chain[0])?;
        first.check_time(SystemTime::now())?;
        first.check_purpose(purpose)?;
        anyhow::Ok((chain, first))
    };
    read().map_err(|error| content.file.error(error))
}

/// The CAs that an end of a link trusts.
pub struct Roots {
    pub store: Arc<RootCertStore>,
    /// Of the one that expires first.
    pub validity: Range<SystemTime>,
    /// When one that was left out becomes valid.
    next_start: Option<SystemTime>,
}

impl Roots {
    /// Reads certificates of CAs in PEM. One that is not valid now is left out, as long as another is: a CA is
    /// replaced by trusting both for a while.
    pub fn read(content: &Content) -> anyhow::Result<Self> {
        let read = || Self::of(read_certificates(content)?, SystemTime::now());
        read().map_err(|error| content.file.error(error))
    }

    fn of(certificates: Vec<CertificateDer<'static>>, now: SystemTime) -> anyhow::Result<Self> {
        let mut store = RootCertStore::empty();
        let (mut valid, mut starts, mut refused) = (Vec::new(), Vec::new(), None);
        for der in certificates {
            let certificate = Certificate::parse(&der)?;
            ensure!(
                certificate.is_ca,
                "has a certificate that is not a CA's (basic constraints)"
            );

            match certificate.check_time(now) {
                Ok(()) => {
                    store.add(der)?;
                    valid.push(certificate.validity);
                }
                Err(error) => {
                    refused = Some(error);
                    starts.push(certificate.validity.start);
                }
            }
        }

        let first = valid.into_iter().min_by_key(|validity| validity.end);
        Ok(Self {
            store: Arc::new(store),
            validity: first.ok_or_else(|| refused.unwrap_or_else(no_certificate))?,
            next_start: starts.into_iter().filter(|start| *start > now).min(),
        })
    }

    /// Whether other CAs of the file are valid now: no handshake looks at the time of a CA.
    pub fn is_stale(&self) -> bool {
        let changes = [Some(self.validity.end), self.next_start];
        changes.into_iter().flatten().min() <= Some(SystemTime::now())
    }
}

fn read_certificates(content: &Content) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content.bytes).collect();
    let certificates = certificates.map_err(|_| anyhow!("is not valid PEM"))?;
    ensure!(!certificates.is_empty(), no_certificate());
    Ok(certificates)
}

fn no_certificate() -> anyhow::Error {
    anyhow!("has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        GeneralName::Rfc822Name(address) => Some(address.as_str().to_owned()),
        GeneralName::IpAddress(address) => {
            let v4 = <[u8; 4]>::try_from(address.as_bytes()).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(address.as_bytes()).map(IpAddr::from);
            Some(v4.or_else(|_| v6()).ok()?.to_string())
        }
        _ => None,
    }
}

/// A time as RFC 3339 writes it, to the second.
fn utc(time: SystemTime) -> String {
    DateTime::from_system_time(time).map_or_else(|_| "another time".into(), |time| time.to_string())
}
