//! The calling end of one-way TLS, in which only the server shows a certificate.

use std::sync::Arc;

use anyhow::{anyhow, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::certificate::Roots;
use crate::expiry::Expiry;
use crate::file::CredentialFile;
use crate::provider::provider;
use crate::watched::Watched;

/// What a client without a certificate checks of the server's.
#[derive(Clone, Debug)]
pub enum ServerCheck {
    /// That the server has the key of whatever certificate it shows. Anyone can be such a server.
    Key,
    /// That a CA has signed the certificate, for whatever name.
    Chain(TrustedCas),
    /// That a CA has signed it for the name that is connected to.
    ChainAndName(TrustedCas),
}

/// The CAs that may sign a server's certificate.
#[derive(Clone, Debug)]
pub enum TrustedCas {
    /// Those in a file, which is read again when its content changes.
    File(CredentialFile),
    /// Those that this machine trusts, as they are now.
    System,
}

/// The calling end of TLS 1.2 and 1.3 in which only the server shows a certificate, by the files as they are
/// now. A connection keeps what it began with.
#[derive(Clone)]
pub struct OneWayTls(Watched<Configuration>);

struct Configuration {
    client: Arc<ClientConfig>,
    /// `None`: not of a file.
    roots: Option<Roots>,
}

impl OneWayTls {
    /// Fails when the CAs cannot be read; the error names the file.
    pub fn new(check: ServerCheck) -> anyhow::Result<Self> {
        let (cas, checks_name) = match check {
            ServerCheck::Key => return Self::fixed(None, false),
            ServerCheck::Chain(cas) => (cas, false),
            ServerCheck::ChainAndName(cas) => (cas, true),
        };
        let file = match cas {
            TrustedCas::System => return Self::fixed(Some(system_roots()?), checks_name),
            TrustedCas::File(file) => file,
        };
        let mut expiry = Expiry::new(&file);
        let look = move |now: &Configuration| {
            now.roots.as_ref().is_some_and(|roots| {
                expiry.record(&roots.validity);
                roots.is_stale()
            })
        };
        let read = move |contents: &[_]| {
            let roots = Roots::read(&contents[0])?;
            Ok(Configuration {
                client: client(Some(roots.store.clone()), checks_name)?,
                roots: Some(roots),
            })
        };
        Watched::start(vec![file], read, look).map(Self)
    }

    fn fixed(roots: Option<Arc<RootCertStore>>, checks_name: bool) -> anyhow::Result<Self> {
        let client = client(roots, checks_name)?;
        Ok(Self(Watched::fixed(Configuration {
            client,
            roots: None,
        })))
    }

    /// The configuration for a connection that begins now.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0.current().client.clone()
    }
}

fn client(
    roots: Option<Arc<RootCertStore>>,
    checks_name: bool,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match roots {
        Some(roots) if checks_name => builder.with_root_certificates(roots),
        roots => {
            let algorithms = provider().signature_verification_algorithms;
            let verifier = AnyName { roots, algorithms };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut client = builder.with_no_client_auth();
    // Every connection looks at the server's certificate anew.
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

fn system_roots() -> anyhow::Result<Arc<RootCertStore>> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    let why = found.errors.first().map(|error| anyhow!("{error}"));
    ensure!(
        !store.is_empty(),
        why.unwrap_or_else(|| anyhow!("this machine has no certificates of CAs"))
    );
    Ok(Arc::new(store))
}

/// Accepts a certificate whatever its names are: one that a CA has signed or, without CAs, any.
#[derive(Debug)]
struct AnyName {
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer,
        intermediates: &[CertificateDer],
        _name: &ServerName,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
