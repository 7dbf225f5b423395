//! A connection whose peer must take what is written to it, or lose the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{MIN_BYTES_PER_SECOND, WRITE_TIMEOUT};

/// A TCP stream that resets the connection of a peer which takes nothing for [`WRITE_TIMEOUT`], or less
/// than [`MIN_BYTES_PER_SECOND`] in the long run. hyper limits how long a request may take to arrive,
/// but not how long a response may take to leave.
pub struct WriteGuard {
    stream: TcpStream,
    /// When the connection ends. `None`, and no timer, as long as everything that is written fits the
    /// kernel's buffer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WriteGuard {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline: None,
        }
    }

    /// Passes on what became of a write, unless the peer is too slow.
    fn limit(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (&written, &mut self.deadline) {
            // Each byte buys its time, but no peer can save up more than the timeout.
            (Poll::Ready(Ok(bytes)), Some(deadline)) => {
                let bought = Duration::from_secs(*bytes as u64) / MIN_BYTES_PER_SECOND;
                let latest = Instant::now() + WRITE_TIMEOUT;
                let due = latest.min(deadline.deadline() + bought);
                deadline.as_mut().reset(due);
            }
            (Poll::Pending, deadline) => {
                let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
                ready!(deadline.as_mut().poll(cx));
                // After a mere close the kernel would keep what the peer does not take.
                self.stream.set_zero_linger()?;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        written
    }
}

impl AsyncWrite for WriteGuard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write: the peer has caught up.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deadline = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for WriteGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
