//! HTTP/1.1 connections: their limits, and how they end.

use std::{convert::Infallible, pin::pin, rc::Rc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use service_runtime::workers::Worker;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::response::Response;

/// How long a request's head may take to arrive, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request: request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long an idle connection stays open when the process stops. A request that is on its way to it
/// is answered, with `Connection: close`, instead of being met by a reset.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves the HTTP/1.1 connections of one thread.
pub struct HttpWorker<S> {
    service: S,
    connections: http1::Builder,
}

impl<S> HttpWorker<S> {
    /// A worker whose requests `service` answers.
    pub fn new(service: S) -> Self {
        let mut connections = http1::Builder::new();
        connections
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(2 * MAX_HEADER_BYTES);
        Self {
            service,
            connections,
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
        let mut connection = pin!(
            self.connections
                .serve_connection(TokioIo::new(stream), self.service.clone())
        );
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
