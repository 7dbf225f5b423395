//! HTTP/1.1 connections: their limits, and how they end.

use std::{convert::Infallible, pin::pin, rc::Rc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use service_runtime::workers::Worker;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::limits::{HEAD_TIMEOUT, MAX_HEAD_KIB};
use crate::response::Response;
use crate::write_guard::WriteGuard;

/// How long an idle connection stays open when the process stops. A request that is on its way to it
/// is answered, with `Connection: close`, instead of being met by a reset.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves the connections of one thread.
pub struct HttpWorker<S> {
    connections: http1::Builder,
    service: S,
}

impl<S> HttpWorker<S> {
    /// A worker whose requests `service` answers.
    pub fn new(service: S) -> Self {
        let max_head = MAX_HEAD_KIB * 1024;
        let mut connections = http1::Builder::new();
        connections
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_header_size(max_head)
            .max_buf_size(max_head);
        Self {
            connections,
            service,
        }
    }
}

impl<S> Worker for HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static,
{
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the client is gone already");
            return;
        }
        let (stream, service) = (TokioIo::new(WriteGuard::new(stream)), self.service.clone());
        let mut connection = pin!(self.connections.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = async { draining.cancelled().await; sleep(DRAIN_GRACE).await } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }
}
