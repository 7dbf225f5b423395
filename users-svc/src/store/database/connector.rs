//! What is under a connection to PostgreSQL: a stream whose waits have an end, and TLS over it.
//!
//! The driver lets a TLS connector replace the stream before it has sent anything, which it does for a server
//! that speaks TLS from the first byte. This connector takes that place for every connection over TCP, and
//! does what the driver would do otherwise: it asks the server whether it speaks TLS.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use credentials::OneWayTls;
use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;

use super::ssl_options::TlsPolicy;
use super::time_limit::TimedStream;

/// Asks the server whether it speaks TLS (PostgreSQL documentation, section 55.7, `SSLRequest`).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Puts a [`DatabaseStream`] under each connection.
#[derive(Clone)]
pub struct Connector {
    /// Of waits outside [`within`](super::within): connecting on a thread of the pool, the end of a connection.
    pub timeout: Duration,
    /// `None`: never.
    tls: Option<OneWayTls>,
    requires_tls: bool,
}

impl Connector {
    /// Fails when the CAs cannot be read.
    pub fn new(policy: TlsPolicy, timeout: Duration) -> anyhow::Result<Self> {
        let (check, requires_tls) = match policy {
            TlsPolicy::Off => (None, false),
            TlsPolicy::Preferred(check) => (Some(check), false),
            TlsPolicy::Required(check) => (Some(check), true),
        };
        let tls = check.map(OneWayTls::new).transpose()?;
        Ok(Self {
            timeout,
            tls,
            requires_tls,
        })
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = DatabaseStream;
    type TlsConnect = Negotiation;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Negotiation, Infallible> {
        Ok(Negotiation {
            connector: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// The beginning of one connection.
pub struct Negotiation {
    connector: Connector,
    /// As `DATABASE_URL` names it.
    host: String,
}

impl TlsConnect<Socket> for Negotiation {
    type Stream = DatabaseStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<DatabaseStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(self.negotiate(socket))
    }
}

impl Negotiation {
    async fn negotiate(self, socket: Socket) -> io::Result<DatabaseStream> {
        let mut stream = TimedStream::new(socket, self.connector.timeout);
        let Some(tls) = &self.connector.tls else {
            return Ok(DatabaseStream(Either::Left(stream)));
        };

        stream.write_all(&SSL_REQUEST).await?;
        // One byte and no more. What else was sent unencrypted must fail the handshake, and not be taken for
        // an answer that came encrypted (CVE-2021-23222).
        match stream.read_u8().await? {
            b'S' => {
                let mut tls = MakeRustlsConnect::new(tls.config().as_ref().clone());
                let Ok(handshake) =
                    MakeTlsConnect::<TimedStream>::make_tls_connect(&mut tls, &self.host);
                Ok(DatabaseStream(Either::Right(
                    handshake.connect(stream).await?,
                )))
            }
            b'N' if self.connector.requires_tls => Err(io::Error::other(
                "the server does not speak TLS, which sslmode demands: set ssl = on there",
            )),
            b'N' => {
                self.warn_of_plain_text();
                Ok(DatabaseStream(Either::Left(stream)))
            }
            _ => Err(io::Error::other(
                "the server does not answer as PostgreSQL does",
            )),
        }
    }

    /// Says once that a connection that leaves this machine is not encrypted. With sslmode=disable, its
    /// operator knows.
    fn warn_of_plain_text(&self) {
        static WARNED: Once = Once::new();
        let address = self.host.parse::<IpAddr>();
        let stays_here = self.host == "localhost" || address.is_ok_and(|a| a.is_loopback());
        if !stays_here {
            WARNED.call_once(|| {
                tracing::warn!(
                    host = self.host,
                    "PostgreSQL does not speak TLS: passwords' proofs and users cross the network in plain \
                     text; set ssl = on there and sslmode=verify-full here, or sslmode=disable if that is meant"
                );
            });
        }
    }
}

type EncryptedStream = <MakeRustlsConnect as MakeTlsConnect<TimedStream>>::Stream;

/// A connection's stream, in plain text or encrypted.
pub struct DatabaseStream(Either<TimedStream, EncryptedStream>);

impl AsyncRead for DatabaseStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context, to: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, to)
    }
}

impl AsyncWrite for DatabaseStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl TlsStream for DatabaseStream {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.0 {
            Either::Left(_) => ChannelBinding::none(),
            Either::Right(encrypted) => encrypted.channel_binding(),
        }
    }
}

#[cfg(test)]
mod tests;
