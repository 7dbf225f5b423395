//! HTTP for operators: answers every request with one text, and costs little whatever its clients do.

use std::{collections::VecDeque, io, net, rc::Rc, time::Duration};

use hyper::{Response, header::CONTENT_TYPE, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::timeout;

use crate::workers::next_connection;

/// Connections open at once. A further one ends the oldest, so that silent clients keep nobody out.
const MAX_CONNECTIONS: usize = 16;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take from beginning to end.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers with what `text` returns, at any path, for as long as the process runs. Call it inside a local
/// runtime.
pub async fn serve(
    listener: net::TcpListener,
    text: impl Fn() -> String + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (text, mut open) = (Rc::new(text), VecDeque::new());
    loop {
        let stream = TcpStream::from_std(next_connection(&listener).await?)?;
        if open.len() == MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            AbortHandle::abort(&oldest);
            // Lets it end before the next is accepted.
            yield_now().await;
        }

        let text = text.clone();
        let answer = service_fn(move |_| {
            let response = Response::builder().header(CONTENT_TYPE, "text/plain; version=0.0.4");
            let response = response.body(text());
            async { response }
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
