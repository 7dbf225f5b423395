//! Bytes that come in below the messages, where an encrypted stream gathers them before anyone sees them.

use std::task::{Context, Poll, ready};
use std::{io, io::IoSlice, pin::Pin, rc::Rc};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::peer_guard::PeerGuard;

/// A stream to put under an encrypted one, whose handshake and whose incomplete records then count as what the
/// peer has the service hold, and have the time of a message.
pub struct Metered<S> {
    stream: S,
    guard: Rc<PeerGuard>,
}

impl<S> Metered<S> {
    /// Counts what comes in by `stream` for `guard`.
    pub fn new(stream: S, guard: Rc<PeerGuard>) -> Self {
        Self { stream, guard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        to: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, to))?;
        Poll::Ready(self.guard.on_undecoded(to.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
