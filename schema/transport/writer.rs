//! The writing end: gathers the messages of one turn of the event loop into one write.
//!
//! capnp-rpc flushes after every message; the queue takes the message, and one task sends what gathered.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::{io, mem, pin::Pin, rc::Rc};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::{sync::Notify, task::yield_now, time::sleep};

use super::options::{SEND_QUEUE_KEPT, STALL_TIMEOUT};

/// The bytes of a connection that are not yet handed to its socket.
#[derive(Default)]
pub struct SendQueue {
    unsent: RefCell<Vec<u8>>,
    /// Bytes that were taken from `unsent` and are not yet with the socket.
    sending: Cell<usize>,
    /// The RPC system has ended: send the rest, then close.
    is_finished: Cell<bool>,
    /// The socket has failed: nothing is sent any more.
    has_failed: Cell<bool>,
    /// The queue has become non-empty, or is finished.
    changed: Notify,
    /// The same of the end only.
    finished: Notify,
    /// Something that the peer had this end hold has been released.
    pub released: Notify,
}

impl SendQueue {
    /// Sends the queue until the RPC system has ended and the queue is empty. A peer that does not read has a limited
    /// time for the rest.
    pub async fn send(self: Rc<Self>, socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let overdue = async {
            self.finished.notified().await;
            sleep(STALL_TIMEOUT).await;
        };
        let sent = tokio::select! {
            sent = self.send_until_finished(socket) => sent,
            () = overdue => Err(io::ErrorKind::TimedOut.into()),
        };
        if sent.is_err() {
            self.has_failed.set(true);
            drop(self.unsent.take());
            self.sending.set(0);
            self.released.notify_waiters();
        }
        sent
    }

    async fn send_until_finished(&self, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            self.changed.notified().await;
            // Lets every task that is ready now add its messages.
            yield_now().await;

            while !self.unsent.borrow().is_empty() {
                mem::swap(&mut *self.unsent.borrow_mut(), &mut batch);
                self.sending.set(batch.len());
                socket.write_all(&batch).await?;
                socket.flush().await?;
                batch.clear();
                batch.shrink_to(SEND_QUEUE_KEPT);
                self.sending.set(0);
                self.released.notify_waiters();
            }

            if self.is_finished.get() {
                return socket.shutdown().await;
            }
        }
    }

    /// Bytes that the peer has not yet taken, as far as the socket can tell.
    pub fn len(&self) -> usize {
        self.unsent.borrow().len() + self.sending.get()
    }
}

/// What capnp-rpc writes to. It never waits: only reading is held back, by the peer guard.
pub struct CoalescingWriter(pub Rc<SendQueue>);

impl futures::AsyncWrite for CoalescingWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.0.has_failed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut unsent = self.0.unsent.borrow_mut();
        if unsent.is_empty() {
            self.0.changed.notify_one();
        }
        unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for CoalescingWriter {
    fn drop(&mut self) {
        self.0.is_finished.set(true);
        self.0.changed.notify_one();
        self.0.finished.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncWriteExt as _;
    use tokio::io::duplex;
    use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
    use tokio::{task::spawn_local, time::Instant};

    use super::*;

    /// Takes everything, and counts the writes.
    #[derive(Clone, Default)]
    struct Socket(Rc<Cell<usize>>);

    impl AsyncWrite for Socket {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.set(self.0.get() + 1);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn messages_of_one_turn_leave_in_one_write() {
        LocalRuntime::new().unwrap().block_on(async {
            let (queue, socket): (Rc<SendQueue>, _) = (Rc::default(), Socket::default());
            let sending = spawn_local(queue.clone().send(socket.clone()));
            let mut writer = CoalescingWriter(queue);
            for _ in 0..100 {
                writer.write_all(b"message").await.unwrap();
                writer.flush().await.unwrap();
            }

            drop(writer);

            sending.await.unwrap().unwrap();
            assert_eq!(socket.0.get(), 1);
        });
    }

    #[test]
    fn peer_that_does_not_read_the_rest_is_left_when_its_time_is_over() {
        let mut builder = Builder::new_current_thread();
        let builder = builder.enable_time().start_paused(true);
        let runtime = builder.build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let (queue, (socket, _peer)) = (Rc::<SendQueue>::default(), duplex(8));
            let sending = spawn_local(queue.clone().send(socket));
            let mut writer = CoalescingWriter(queue.clone());
            writer.write_all(b"more than fits").await.unwrap();
            let begin = Instant::now();

            drop(writer);

            let error = sending.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begin.elapsed(), STALL_TIMEOUT);
            assert_eq!(queue.len(), 0);
        });
    }
}
