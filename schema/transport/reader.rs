//! The reading end: many messages to a read, and no buffer while the connection is idle.

use std::{
    cell::Cell,
    io, mem,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{options::READ_BUFFER, peer_guard::Guard};

/// The reading end. Messages come many to a read under load; a connection that rests holds no memory
/// for them, as most of many do.
pub struct Reader<S> {
    pub socket: S,
    /// What has been read, and where what has not been taken of it is.
    pub buffer: Vec<u8>,
    pub unread: Range<usize>,
    /// Of a service, which owes its peers no patience.
    pub guard: Option<Guard>,
}

thread_local! {
    /// The buffer that the next connection reads into.
    static SPARE: Cell<Vec<u8>> = Cell::default();
}

impl<S: AsyncRead + Unpin> futures::AsyncRead for Reader<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        taken: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            socket,
            buffer,
            unread,
            guard,
        } = self.get_mut();
        if unread.start == unread.end {
            if guard.as_ref().is_some_and(|guard| guard.is_full(cx)) {
                return Poll::Pending;
            }
            if buffer.is_empty() {
                *buffer = SPARE.take();
                buffer.resize(READ_BUFFER, 0);
            }
            let mut read = ReadBuf::new(buffer);
            if let Poll::Ready(done) = Pin::new(socket).poll_read(cx, &mut read) {
                done?;
                *unread = 0..read.filled().len();
                if let Some(guard) = guard {
                    guard.follow(read.filled());
                }
            } else {
                SPARE.set(mem::take(buffer));
                return guard
                    .as_mut()
                    .map_or(Poll::Pending, |guard| guard.poll_late(cx).map(Err));
            }
        }
        let length = taken.len().min(unread.len());
        taken[..length].copy_from_slice(&buffer[unread.start..][..length]);
        unread.start += length;
        Poll::Ready(Ok(length))
    }
}
