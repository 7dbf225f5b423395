//! The calling end of mutual TLS.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::{Purpose, Roots};
use crate::expiry::Expiry;
use crate::file::{Content, CredentialFile};
use crate::identity::Identity;
use crate::peer::Peer;
use crate::provider::provider;
use crate::watched::Watched;

/// The calling end of mutual TLS, by the files as they are now. A connection keeps what it began with.
#[derive(Clone)]
pub struct ClientTls(Watched<Configuration>);

struct Configuration {
    client: Arc<ClientConfig>,
    identity: Identity,
    server_roots: Roots,
}

impl Configuration {
    fn read(contents: &[Content]) -> anyhow::Result<Self> {
        let identity = Identity::read(&contents[0], &contents[1], Purpose::Client)?;
        let server_roots = Roots::read(&contents[2])?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(server_roots.store.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.clone())));
        // The server looks at every certificate anew.
        client.resumption = Resumption::disabled();
        Ok(Self {
            client: Arc::new(client),
            identity,
            server_roots,
        })
    }
}

impl ClientTls {
    /// TLS 1.3 in which both ends show a certificate. The files are the client's certificate, its key, and the
    /// CAs one of which must have signed the server's certificate.
    ///
    /// Fails when a file cannot be used; the error names it and its variable.
    pub fn mutual([cert, key, ca]: [CredentialFile; 3]) -> anyhow::Result<Self> {
        let mut expiries = [&cert, &ca].map(Expiry::new);
        let look = move |now: &Configuration| {
            expiries[0].record(&now.identity.validity);
            expiries[1].record(&now.server_roots.validity);
            now.server_roots.is_stale()
        };
        Watched::start(vec![cert, key, ca], Configuration::read, look).map(Self)
    }

    /// The same for a single question: the files are read now, and not watched.
    pub fn mutual_unwatched(files: &[CredentialFile; 3]) -> anyhow::Result<Self> {
        let contents: Vec<_> = files
            .iter()
            .map(CredentialFile::read)
            .collect::<Result<_, _>>()?;
        Ok(Self(Watched::fixed(Configuration::read(&contents)?)))
    }

    /// The first name of its own certificate that a server could be called by.
    pub fn own_host(&self) -> Option<String> {
        let now = self.0.current();
        let mut names = now.identity.names.iter();
        let is_host = |name: &&String| ServerName::try_from(name.as_str()).is_ok();
        names.find(is_host).cloned()
    }

    /// Makes the handshake with the server that `host` names: a DNS name or an IP address. It has no limit of
    /// time. Returns the stream, and when the first of both ends' certificates expires.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<(TlsStream<S>, SystemTime)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let now = self.0.current();
        let connector = TlsConnector::from(now.client.clone());
        let stream = connector.connect(name, stream).await?;
        let own = now.identity.validity.end;
        let expiry = Peer::of(stream.get_ref().1).map_or(own, |peer| own.min(peer.not_after));
        Ok((stream, expiry))
    }
}
