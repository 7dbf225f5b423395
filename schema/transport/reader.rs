//! The reading end: many messages to a read, and no buffer while the connection is idle.

use std::task::{Context, Poll, ready};
use std::{cell::Cell, io, mem, ops::Range, pin::Pin, rc::Rc};

use tokio::io::{AsyncRead, ReadBuf};

use super::{options::READ_BUFFER, peer_guard::PeerGuard};

/// What capnp-rpc reads from.
pub struct MessageReader<S> {
    socket: S,
    /// The read buffer, and the range of it not yet consumed.
    buffer: Vec<u8>,
    unread: Range<usize>,
    /// On the serving side only.
    guard: Option<Rc<PeerGuard>>,
}

thread_local! {
    /// The read buffer of this thread that no connection holds. An idle connection keeps no buffer,
    /// because most connections are idle.
    static FREE_BUFFER: Cell<Vec<u8>> = Cell::default();
}

impl<S: AsyncRead + Unpin> MessageReader<S> {
    pub fn new(socket: S, guard: Option<Rc<PeerGuard>>) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            unread: 0..0,
            guard,
        }
    }

    /// Fills the buffer by one read. It stays empty at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            self.buffer = FREE_BUFFER.take();
            self.buffer.resize(READ_BUFFER, 0);
        }

        let mut read = ReadBuf::new(&mut self.buffer);
        if let Poll::Ready(done) = Pin::new(&mut self.socket).poll_read(cx, &mut read) {
            self.unread = 0..read.filled().len();
            if let Some(guard) = &self.guard {
                guard.incoming.set_decoded();
            }
            return Poll::Ready(done.or_else(or_end_of_stream));
        }

        FREE_BUFFER.set(mem::take(&mut self.buffer));
        let guard = self.guard.as_ref();
        guard.map_or(Poll::Pending, |guard| guard.poll_overdue(cx).map(Err))
    }
}

/// Takes an encrypted stream that ends without a farewell for one that ends: a peer that is killed has no time for
/// one. A message that is cut off is noticed by its length.
fn or_end_of_stream(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(error),
    }
}

impl<S: AsyncRead + Unpin> futures::AsyncRead for MessageReader<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            ready!(this.poll_fill(cx))?;
        }
        let length = to.len().min(this.unread.len());
        to[..length].copy_from_slice(&this.buffer[this.unread.start..][..length]);
        this.unread.start += length;
        if let Some(guard) = &this.guard {
            guard.on_received(&to[..length])?;
        }
        Poll::Ready(Ok(length))
    }
}
