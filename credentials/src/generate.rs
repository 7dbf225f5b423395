//! Makes CAs and certificates, for tests and for systems of one machine. A deployment has a CA of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;
use crate::provider::provider;

/// How far a clock of another machine may be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A CA of one's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub cert: String,
}

/// A certificate and its private key, in PEM.
pub struct Issued {
    /// The certificate, signed by the CA directly.
    pub cert: String,
    /// The private key (PKCS#8).
    pub key: String,
}

impl Authority {
    /// A new CA, valid for so long from now on.
    pub fn new(name: &str, lifetime: Duration) -> Result<Self, rcgen::Error> {
        Self::with_validity(name, from_now(lifetime))
    }

    /// A new CA.
    pub fn with_validity(name: &str, validity: Range<SystemTime>) -> Result<Self, rcgen::Error> {
        let mut params = params_of_authority(name);
        params.not_before = validity.start.into();
        params.not_after = validity.end.into();
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, cert })
    }

    /// The CA of this name that was made before, by its certificate and key in PEM.
    pub fn again(name: &str, cert: String, key: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(key)?;
        let issuer = Issuer::new(params_of_authority(name), key);
        Ok(Self { issuer, cert })
    }

    /// The CA's private key, in PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for these names, valid for so long from now on: URIs have `://`, IP addresses are known
    /// by their form, everything else is a DNS name. Either end of a connection can show it.
    pub fn issue(&self, names: &[&str], lifetime: Duration) -> Result<Issued, rcgen::Error> {
        self.issue_with_validity(names, from_now(lifetime))
    }

    /// A certificate for these names.
    pub fn issue_with_validity(
        &self,
        names: &[&str],
        validity: Range<SystemTime>,
    ) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::default();
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let names = names.iter().map(|name| match name.parse() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) if name.contains("://") => Ok(SanType::URI((*name).try_into()?)),
            Err(_) => Ok(SanType::DnsName((*name).try_into()?)),
        });
        params.subject_alt_names = names.collect::<Result<_, rcgen::Error>>()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = validity.start.into();
        params.not_after = validity.end.into();

        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Checks that a certificate is valid now, is signed by this CA for exactly these DNS names and IP addresses,
    /// and has this key. Returns from when until when it is valid.
    pub fn verify(&self, issued: &Issued, names: &[&str]) -> anyhow::Result<Range<SystemTime>> {
        let cert = CertificateDer::from_pem_slice(issued.cert.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
        CertifiedKey::from_der(vec![cert.clone()], key, &provider())?;

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.cert.as_bytes())?)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build()?;
        for name in names {
            let name = ServerName::try_from(*name)?;
            verifier.verify_server_cert(&cert, &[], &name, &[], UnixTime::now())?;
        }

        let certificate = Certificate::parse(&cert)?;
        let wanted: BTreeSet<_> = names.iter().map(|name| normal_form(name)).collect();
        ensure!(
            certificate.names.into_iter().collect::<BTreeSet<_>>() == wanted,
            "has other names"
        );
        Ok(certificate.validity)
    }
}

/// A DNS name or IP address as [`Certificate`] writes it.
fn normal_form(name: &str) -> String {
    let address = name.parse().map(|address: IpAddr| address.to_string());
    address.unwrap_or_else(|_| name.to_ascii_lowercase())
}

fn params_of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Strict verifiers, such as Python's since 3.13, want these (RFC 5280, section 4.2.1).
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn from_now(lifetime: Duration) -> Range<SystemTime> {
    let now = SystemTime::now();
    now - CLOCK_SKEW..now + lifetime
}
