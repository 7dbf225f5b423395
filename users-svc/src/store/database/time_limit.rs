//! An end on this side for every wait on PostgreSQL.
//!
//! The driver waits for as long as the server is silent, and a server that hangs, or a proxy in front of it,
//! can be silent for ever. So the stream under each connection fails once the time is up. The driver then
//! takes the connection for broken, which it is: an answer may still be on its way.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::{io, pin::Pin, time::Duration};

use postgres::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

thread_local! {
    /// When the work of this thread must be done. The driver does all of a connection's work on the thread
    /// that calls it.
    static DUE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `work`, whose waits on PostgreSQL end within `limit` in all.
pub fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DUE.set(self.0);
        }
    }

    let _restore = Restore(DUE.replace(Some(Instant::now() + limit)));
    work()
}

/// A connection's stream, whose reads fail when the time is up. While the driver waits to write, it waits to
/// read as well.
pub struct TimedStream {
    socket: Socket,
    timeout: Duration,
    /// When a wait ends that began outside [`within`].
    due_by_default: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl TimedStream {
    /// `timeout` is the limit of waits outside [`within`].
    pub fn new(socket: Socket, timeout: Duration) -> Self {
        Self {
            socket,
            timeout,
            due_by_default: None,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context, to: &mut ReadBuf) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(cx, to) {
            return Poll::Ready(read);
        }

        let due = if let Some(due) = DUE.get() {
            this.due_by_default = None;
            due
        } else {
            *this
                .due_by_default
                .get_or_insert_with(|| Instant::now() + this.timeout)
        };
        if this.timer.deadline() != due {
            this.timer.as_mut().reset(due);
        }
        this.timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
