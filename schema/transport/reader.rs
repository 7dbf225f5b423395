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
            return Poll::Ready(done.or_else(or_end_of_stream).map_err(or_disconnected));
        }

        FREE_BUFFER.set(mem::take(&mut self.buffer));
        let guard = self.guard.as_ref();
        guard.map_or(Poll::Pending, |guard| {
            guard.poll_overdue(cx).map(or_disconnected).map(Err)
        })
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

/// Takes a peer that is not reached any more for one that is gone. The capnp crate makes `TimedOut` an `overloaded`,
/// which promises that calls were not carried out; those of a broken connection may have been.
fn or_disconnected(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::ConnectionAborted, error),
        _ => error,
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

#[cfg(test)]
mod tests {
    use capnp::{ErrorKind, message::ReaderOptions, serialize};
    use capnp_rpc::{new_client, rpc_capnp, rpc_twoparty_capnp::Side};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, join, sink};
    use tokio::{runtime::LocalRuntime, task::spawn_local, time};

    use super::*;
    use crate::transport;
    use crate::users_capnp::users;

    /// A connection whose peer is not reached any more.
    struct Unreachable;

    impl AsyncRead for Unreachable {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context,
            _: &mut ReadBuf,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        }
    }

    struct Service;

    impl users::Server for Service {}

    #[test]
    fn call_whose_peer_is_not_reached_any_more_is_not_said_to_be_not_carried_out() {
        let error = LocalRuntime::new().unwrap().block_on(async {
            let mut system = transport::client(join(Unreachable, sink())).system;
            let users: users::Client = system.bootstrap(Side::Server);
            spawn_local(system);
            let response = users.get_user_request().send().promise.await;
            response.map(drop).unwrap_err()
        });
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
    }

    #[test]
    fn peer_whose_message_is_overdue_is_not_told_that_its_calls_were_not_carried_out() {
        let last_words = LocalRuntime::new().unwrap().block_on(async {
            time::pause();
            let (near, mut far) = duplex(1024);
            let service: users::Client = new_client(Service);
            spawn_local(transport::server(near, service.client).system);
            // The beginning of a message.
            far.write_all(&[0; 5]).await.unwrap();
            let mut last_words = Vec::new();
            far.read_to_end(&mut last_words).await.unwrap();
            last_words
        });

        let message = serialize::read_message(&mut &*last_words, ReaderOptions::default()).unwrap();
        let message: rpc_capnp::message::Reader = message.get_root().unwrap();
        let Ok(rpc_capnp::message::Abort(Ok(abort))) = message.which() else {
            panic!("no abort")
        };
        let kind = abort.get_type().unwrap();
        assert_eq!(kind, rpc_capnp::exception::Type::Disconnected);
    }
}
