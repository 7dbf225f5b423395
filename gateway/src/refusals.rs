//! Heads that hyper refuses by itself. No handler sees them, so they are counted here, and hyper's answers, which have
//! no body, get that of all other errors.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use metrics::{counter, describe_counter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;
use warp::http::header;

use crate::problem::Problem;
use crate::response::set;
use crate::security_headers::set_security_headers;
use crate::telemetry::REQUEST_ID;

/// hyper says so only in answers of its own: those of the router have a body whenever they are errors.
const NO_BODY: &str = "content-length: 0\r\n";

/// Describes the metric, and lets it begin at zero.
pub fn register_metrics() {
    describe_counter!(
        "http_server_refused_heads_total",
        "Heads of requests that were too large (431), malformed (400), or not complete in time."
    );
    for reason in ["too_large", "malformed", "timeout"] {
        counter!("http_server_refused_heads_total", "reason" => reason).increment(0);
    }
}

/// Counts the head that made a connection end with `error`, if a head did.
pub fn count_refused_head(error: &hyper::Error) {
    let reason = if error.is_parse_too_large() {
        "too_large"
    } else if error.is_parse() {
        "malformed"
    } else if error.is_timeout() {
        "timeout"
    } else {
        return;
    };
    counter!("http_server_refused_heads_total", "reason" => reason).increment(1);
}

/// A connection that replaces the answers which hyper gives by itself.
pub struct Refusals<S> {
    pub stream: S,
    /// Whether the connection has TLS.
    over_tls: bool,
    /// What is left to write of such an answer. It is the last one: hyper closes the connection.
    answer: Bytes,
}

impl<S: AsyncWrite + Unpin> Refusals<S> {
    pub fn new(stream: S, over_tls: bool) -> Self {
        Self {
            stream,
            over_tls,
            answer: Bytes::new(),
        }
    }

    /// Takes what hyper writes if it is such an answer.
    fn replace(&mut self, written: &[u8]) -> bool {
        let Some((head, problem)) = refusal(written) else {
            return false;
        };
        self.answer = answer(head, problem, self.over_tls).into();
        true
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.answer.has_remaining() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.answer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The head of hyper's own answer, and the problem that it is about. `None`: it is an answer of the router, or
/// a part of one, which may say anything but has no line break in its body.
fn refusal(written: &[u8]) -> Option<(&str, Problem)> {
    let after_version = written.strip_prefix(b"HTTP/1.")?.get(2..)?;
    let problem = match after_version {
        [b'4', b'3', b'1', ..] => Problem::head_too_large,
        [b'4', b'0', b'0', ..] => Problem::unreadable_head,
        _ => return None,
    };
    let head = std::str::from_utf8(written).ok()?;
    let is_refusal = head.ends_with("\r\n\r\n") && head.contains(NO_BODY);
    is_refusal.then(|| (head, problem()))
}

/// The same answer with a body, and with the headers that all answers have.
fn answer(head: &str, mut problem: Problem, over_tls: bool) -> Vec<u8> {
    let request_id = Uuid::now_v7().to_string();
    let status = problem.status;
    tracing::info!(request_id, status, "a request had no readable head");

    problem.request_id = request_id.as_str().into();
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = problem.into_response(&request_id);
    let headers = response.headers_mut();
    // hyper has said so already.
    headers.remove(header::CONNECTION);
    set(headers, header::CONTENT_LENGTH, body.len().to_string());
    set(headers, REQUEST_ID, &request_id);
    set_security_headers(headers, over_tls);

    let mut lines = String::new();
    for (name, value) in &*headers {
        lines.extend([
            name.as_str(),
            ": ",
            value.to_str().unwrap_or_default(),
            "\r\n",
        ]);
    }
    [head.replace(NO_BODY, &lines).into_bytes(), body].concat()
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Refusals<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.replace(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Refusals<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
