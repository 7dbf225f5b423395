//! HTTP for operators and platforms, on the admin address: metrics and probes. It costs little whatever its
//! clients do, and nothing that clients of the service do reaches it.

use std::{collections::VecDeque, convert::Infallible, io, net, rc::Rc, time::Duration};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::timeout;

use crate::health::Readiness;
use crate::workers::next_connection;

/// Connections open at once. A further one ends the oldest, so that silent clients keep nobody out.
const MAX_CONNECTIONS: usize = 16;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take from beginning to end.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What is answered on the admin address.
pub struct Admin<M> {
    /// The metrics, as Prometheus reads them.
    pub metrics: M,
    pub readiness: Readiness,
}

impl<M: Fn() -> String + 'static> Admin<M> {
    /// Serves for as long as the process runs. Call it inside a local runtime.
    pub async fn serve(self, listener: net::TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (admin, mut open) = (Rc::new(self), VecDeque::<AbortHandle>::new());
        loop {
            let stream = TcpStream::from_std(next_connection(&listener, || {}).await?)?;
            open.retain(|connection| !connection.is_finished());
            if open.len() == MAX_CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
                // Lets it end before the next is accepted.
                yield_now().await;
            }

            let admin = admin.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = admin.answer(request.uri().path());
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            let connection = spawn_local(timeout(CONNECTION_TIMEOUT, connection));
            open.push_back(connection.abort_handle());
        }
    }

    /// The response to a request for `path`.
    fn answer(&self, path: &str) -> Response<String> {
        let (status, text) = match path {
            "/metrics" => (StatusCode::OK, (self.metrics)()),
            "/livez" => (StatusCode::OK, "ok\n".into()),
            "/readyz" => match self.readiness.check() {
                Ok(()) => (StatusCode::OK, "ok\n".into()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            _ => (
                StatusCode::NOT_FOUND,
                "/metrics, /livez or /readyz\n".into(),
            ),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        // The version of Prometheus' text format, which says nothing to others.
        let plain = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}
