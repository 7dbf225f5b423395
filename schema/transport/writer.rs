//! The writing end: gathers the messages of one turn of the event loop into one write.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
};

use super::options::WRITE_BUFFER_KEPT;

/// Bytes on their way out. capnp-rpc flushes after every message; this gathers what one turn of the
/// event loop produced, so that it leaves in one write.
#[derive(Default)]
pub struct Outbox {
    pub unsent: RefCell<Vec<u8>>,
    state: Cell<State>,
    changed: Notify,
    /// The reader that waits for room.
    pub reader: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Open,
    /// The RPC system is gone: send what is left, then close.
    Finished,
    /// The socket failed.
    Broken,
}

/// Writes what gathers in the outbox until the RPC system is gone and everything is sent.
pub async fn send(outbox: Rc<Outbox>, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        outbox.changed.notified().await;
        // Lets every task that is ready now add its messages.
        tokio::task::yield_now().await;
        while !outbox.unsent.borrow().is_empty() {
            mem::swap(&mut *outbox.unsent.borrow_mut(), &mut batch);
            let sent = async {
                socket.write_all(&batch).await?;
                socket.flush().await
            }
            .await;
            if sent.is_err() {
                outbox.state.set(State::Broken);
                *outbox.unsent.borrow_mut() = Vec::new();
            }
            batch.clear();
            batch.shrink_to(WRITE_BUFFER_KEPT);
            if let Some(reader) = outbox.reader.take() {
                reader.wake();
            }
            sent?;
        }
        if outbox.state.get() == State::Finished {
            return socket.shutdown().await;
        }
    }
}

pub struct CoalescingWriter(pub Rc<Outbox>);

impl futures::AsyncWrite for CoalescingWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0.state.get() == State::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut unsent = self.0.unsent.borrow_mut();
        if unsent.is_empty() {
            self.0.changed.notify_one();
        }
        unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for CoalescingWriter {
    fn drop(&mut self) {
        if self.0.state.get() == State::Open {
            self.0.state.set(State::Finished);
        }
        self.0.changed.notify_one();
    }
}
