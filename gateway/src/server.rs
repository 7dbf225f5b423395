//! HTTP/1.1 connections, with or without TLS: their limits, and how they end.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, rc::Rc, time::Duration};

use credentials::ServerTls;
use hyper::service::{Service, service_fn};
use hyper::{Request, Version, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use service_runtime::workers::Worker;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits::{HEAD_TIMEOUT, MAX_HEAD_KIB};
use crate::response::Response;
use crate::write_guard::WriteGuard;

/// How long an idle connection stays open when the process stops. A request that is on its way to it
/// is answered, with `Connection: close`, instead of being met by a reset.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// What the router needs to know of the connection that a request came over.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub version: Version,
    /// The other end of the connection, in canonical form.
    pub peer: IpAddr,
}

/// Serves the connections of one thread.
pub struct HttpWorker<S> {
    connections: http1::Builder,
    /// `None`: connections are plain TCP.
    tls: Option<ServerTls>,
    service: S,
}

impl<S> HttpWorker<S> {
    /// A worker whose requests `service` answers. It finds their [`Arrival`] in their extensions.
    pub fn new(tls: Option<ServerTls>, service: S) -> Self {
        let max_head = MAX_HEAD_KIB * 1024;
        let mut connections = http1::Builder::new();
        connections
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_header_size(max_head)
            .max_buf_size(max_head);
        Self {
            connections,
            tls,
            service,
        }
    }
}

impl<S> HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    /// Makes the handshake of a connection with TLS, and then serves it.
    async fn serve_tls(
        &self,
        tls: &ServerTls,
        stream: WriteGuard,
        peer: IpAddr,
        draining: CancellationToken,
    ) {
        let handshake = async {
            // It comes before the head, and may take as long.
            let accepted = timeout(HEAD_TIMEOUT, tls.accept(stream)).await;
            accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = grace_is_over(&draining) => return,
        };
        match accepted {
            Ok(stream) => self.serve_http(stream, peer, draining).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: IpAddr,
        draining: CancellationToken,
    ) {
        let service = service_fn(|mut request: Request<Incoming>| {
            let version = request.version();
            request.extensions_mut().insert(Arrival { version, peer });
            self.service.call(request)
        });
        let stream = TokioIo::new(stream);
        let mut connection = pin!(self.connections.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = grace_is_over(&draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }
}

impl<S> Worker for HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + 'static,
{
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        let prepared = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
        let peer = match prepared {
            Ok(peer) => peer.ip().to_canonical(),
            Err(error) => {
                tracing::debug!(%error, "the client is gone already");
                return;
            }
        };
        // Below TLS, where it sees what the peer takes.
        let stream = WriteGuard::new(stream);
        match &self.tls {
            None => self.serve_http(stream, peer, draining).await,
            // In a box, because connections without TLS have no use for its space.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, peer, draining)).await,
        }
    }
}

/// Waits until the process stops and connections have had their time for it.
async fn grace_is_over(draining: &CancellationToken) {
    draining.cancelled().await;
    sleep(DRAIN_GRACE).await;
}
