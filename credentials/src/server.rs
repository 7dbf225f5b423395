//! The serving end of TLS.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::{Purpose, Roots};
use crate::expiry::Expiry;
use crate::file::{Content, CredentialFile};
use crate::identity::Identity;
use crate::provider::provider;
use crate::watched::Watched;

/// Encrypted bytes that a connection holds at most for a peer that does not read: one full record.
const UNSENT_BYTES: usize = 16 * 1024;

/// The serving end of TLS, by the files as they are now. A connection keeps what it began with.
#[derive(Clone)]
pub struct ServerTls(Watched<Configuration>);

struct Configuration {
    server: Arc<ServerConfig>,
    identity: Identity,
    client_roots: Option<Roots>,
}

impl ServerTls {
    /// TLS 1.3 in which both ends show a certificate. The files are the server's certificate, its key, and the
    /// CAs one of which must have signed the client's certificate.
    ///
    /// Fails when a file cannot be used; the error names it and its variable.
    pub fn mutual(files: [CredentialFile; 3]) -> anyhow::Result<Self> {
        Self::start(files.into(), |contents| {
            let identity = Identity::read(&contents[0], &contents[1], Purpose::Server)?;
            let roots = Roots::read(&contents[2])?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.store.clone(), provider());
            let mut server = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(verifier.build()?)
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.clone())));
            // A resumed session would not look at the client's certificate again.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            Ok(Configuration {
                server: Arc::new(server),
                identity,
                client_roots: Some(roots),
            })
        })
    }

    /// TLS 1.2 and 1.3 for HTTP/1.1, in which only the server shows a certificate. The files are the
    /// certificate and its key.
    ///
    /// Fails when a file cannot be used; the error names it and its variable.
    pub fn https(files: [CredentialFile; 2]) -> anyhow::Result<Self> {
        Self::start(files.into(), |contents| {
            let identity = Identity::read(&contents[0], &contents[1], Purpose::Server)?;
            let mut server = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.clone())));
            server.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Configuration {
                server: Arc::new(server),
                identity,
                client_roots: None,
            })
        })
    }

    fn start(
        files: Vec<CredentialFile>,
        read: impl Fn(&[Content]) -> anyhow::Result<Configuration> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut expiries: Vec<_> = files.iter().map(Expiry::new).collect();
        let look = move |now: &Configuration| {
            expiries[0].record(&now.identity.validity);
            now.client_roots.as_ref().is_some_and(|roots| {
                expiries[2].record(&roots.validity);
                roots.is_stale()
            })
        };
        Watched::start(files, read, look).map(Self)
    }

    /// Makes the handshake with a client. It has no limit of time.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = self.0.current();
        let mut stream = TlsAcceptor::from(now.server.clone()).accept(stream).await?;
        stream.get_mut().1.set_buffer_limit(Some(UNSENT_BYTES));
        Ok(stream)
    }
}
