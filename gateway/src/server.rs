//! HTTP/1.1 connections, with or without TLS: their limits, and how they end.

use std::pin::{Pin, pin};
use std::{convert::Infallible, io, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use credentials::ServerTls;
use hyper::service::{Service, service_fn};
use hyper::{Request, Version, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use service_runtime::workers::Worker;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::keep_alive::{Activity, ServedStream, first_bytes, run_until_idle};
use crate::limits::{HEAD_TIMEOUT, MAX_HEAD_KIB};
use crate::refusals::{Refusals, count_refused_head};
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

/// What a connection is, and what it is told.
struct Connection {
    /// The other end, in canonical form.
    peer: IpAddr,
    draining: CancellationToken,
    place_wanted: Arc<Notify>,
}

/// Serves the connections of one thread.
pub struct HttpWorker<S> {
    connections: http1::Builder,
    /// `None`: connections are plain TCP.
    tls: Option<ServerTls>,
    /// How long a connection may be idle between two requests.
    keep_alive: Duration,
    service: S,
}

impl<S> HttpWorker<S> {
    /// A worker whose requests `service` answers. It finds their [`Arrival`] in their extensions.
    pub fn new(tls: Option<ServerTls>, keep_alive: Duration, service: S) -> Self {
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
            keep_alive,
            service,
        }
    }
}

impl<S> HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    /// Makes the handshake of a connection with TLS, and then serves it.
    async fn serve_tls(&self, tls: &ServerTls, stream: WriteGuard, connection: Connection) {
        let handshake = async {
            // It comes before the head, and may take as long.
            let accepted = timeout(HEAD_TIMEOUT, tls.accept(stream)).await;
            accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = grace_is_over(&connection.draining) => return,
        };
        match accepted {
            Ok(stream) => self.serve_http(stream, connection).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    }

    /// Serves a connection as long as requests come. Between them, when it is idle, it is only a stream.
    async fn serve_http(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        connection: Connection,
    ) {
        let mut grace = pin!(grace_is_over(&connection.draining));
        let (mut limit, mut unserved) = (HEAD_TIMEOUT, Some(Bytes::new()));
        while let Some(mut first) = unserved {
            if first.is_empty() {
                let next = tokio::select! {
                    // First, so that no request that has arrived is reset.
                    biased;
                    first = first_bytes(&mut stream, limit, &connection.place_wanted) => first,
                    () = &mut grace => None,
                };
                let Some(next) = next else { break };
                first = next;
            }
            let served = self.serve_requests(first, stream, connection.peer, grace.as_mut());
            // In a box, whose space is given back when the connection is idle.
            (stream, unserved) = Box::pin(served).await;
            limit = self.keep_alive;
        }
        let _ = stream.shutdown().await;
    }

    /// Serves requests, the first of which begins with `first`, until the connection is idle for a while or ends.
    /// Returns its stream, and if another request may come over it, what has been read of that.
    async fn serve_requests<T>(
        &self,
        first: Bytes,
        stream: T,
        peer: IpAddr,
        grace: Pin<&mut impl Future<Output = ()>>,
    ) -> (T, Option<Bytes>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let activity = &Activity::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            let version = request.version();
            request.extensions_mut().insert(Arrival { version, peer });
            activity.answer(self.service.call(request))
        });
        let stream = ServedStream {
            first,
            stream,
            activity,
        };

        let stream = TokioIo::new(Refusals::new(stream, self.tls.is_some()));
        let mut connection = self.connections.serve_connection(stream, service);

        let shut_down = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
        let (ended, is_idle) = run_until_idle(&mut connection, activity, grace, shut_down).await;

        if let Err(error) = &ended {
            count_refused_head(error);
            tracing::debug!(%error, "an HTTP connection ended early");
        }

        let parts = connection.into_parts();
        // A copy, as hyper's buffer is much larger than what is in it.
        let unserved = || Bytes::copy_from_slice(&parts.read_buf);
        let unserved = (is_idle && ended.is_ok()).then(unserved);
        (parts.io.into_inner().stream.stream, unserved)
    }
}

impl<S> Worker for HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + 'static,
{
    async fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        draining: CancellationToken,
        place_wanted: Arc<Notify>,
    ) {
        let prepared = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
        let peer = match prepared {
            Ok(peer) => peer.ip().to_canonical(),
            Err(error) => {
                tracing::debug!(%error, "the client is gone already");
                return;
            }
        };

        let connection = Connection {
            peer,
            draining,
            place_wanted,
        };
        // Below TLS, where it sees what the peer takes.
        let stream = WriteGuard::new(stream);
        match &self.tls {
            None => self.serve_http(stream, connection).await,
            // In a box, because connections without TLS have no use for its space.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, connection)).await,
        }
    }
}

/// Waits until the process stops and connections have had their time for it.
async fn grace_is_over(draining: &CancellationToken) {
    draining.cancelled().await;
    sleep(DRAIN_GRACE).await;
}
