//! An end on this side for every wait on PostgreSQL.
//!
//! The driver waits for as long as the server is silent, and a server that hangs, or a proxy in front of it,
//! can be silent for ever. So the stream under each connection fails once the time is up. The driver then
//! takes the connection for broken, which it is: an answer may still be on its way.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::{io, pin::Pin, time::Duration};

use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
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

/// Puts a [`TimedStream`] under a connection.
///
/// The driver lets a TLS connector replace the stream, and that is all that this one does.
#[derive(Clone, Copy, Debug)]
pub struct TimedConnector {
    /// Of waits outside [`within`]: a handshake on a thread of the pool, the end of a connection.
    pub timeout: Duration,
}

impl MakeTlsConnect<Socket> for TimedConnector {
    type Stream = TimedStream;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _host: &str) -> Result<Self, Infallible> {
        Ok(*self)
    }
}

impl TlsConnect<Socket> for TimedConnector {
    type Stream = TimedStream;
    type Error = Infallible;
    type Future = Ready<Result<TimedStream, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(TimedStream {
            socket,
            timeout: self.timeout,
            due_by_default: None,
            timer: Box::pin(sleep_until(Instant::now())),
        }))
    }
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

impl TlsStream for TimedStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
