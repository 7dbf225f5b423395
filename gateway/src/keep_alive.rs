//! Idle connections: they wait for their next request without HTTP's buffers, because most connections are idle.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How often a connection that is being served is looked at. One that has answered nothing since the last look is
/// parked if it is idle. Often, because buffers that many connections hold at once leave gaps in the memory of what
/// stays, and the allocator keeps those.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a connection is idle at least before a new one may have its place. A client that has just been
/// answered probably sends its next request soon.
const MIN_IDLE: Duration = Duration::from_secs(10);
/// Bytes that the first read of a request may take; most requests fit. They are on the stack, and only while
/// it is polled.
const FIRST_READ: usize = 2048;

/// Waits for the first bytes of a request for as long as `limit`. `None` when none came, or when the connection
/// has been idle for [`MIN_IDLE`] and its place is wanted.
pub async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
    place_wanted: &Notify,
) -> Option<Bytes> {
    let read = poll_fn(|cx| {
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(buffer.filled())))
    });
    let is_over = async {
        sleep(limit.min(MIN_IDLE)).await;
        tokio::select! {
            () = sleep(limit.saturating_sub(MIN_IDLE)) => {}
            () = place_wanted.notified() => {}
        }
    };
    tokio::select! {
        biased;
        bytes = read => bytes.ok().filter(|bytes| !bytes.is_empty()),
        () = is_over => None,
    }
}

/// What happens on a connection that is being served.
#[derive(Default)]
pub struct Activity {
    /// Requests that have begun and requests that have been answered, together: odd while one is being answered.
    steps: Cell<u64>,
    /// Whether the connection has not taken all of what was written to it.
    is_writing: Cell<bool>,
}

impl Activity {
    /// Answers a request.
    pub async fn answer<T>(&self, response: impl Future<Output = T>) -> T {
        self.steps.update(|steps| steps + 1);
        let response = response.await;
        self.steps.update(|steps| steps + 1);
        response
    }

    /// Waits until nothing has happened for a while on a connection that has been used. Returns its steps so far.
    /// Poll it after the connection, in the same task: what changes the answer wakes that.
    async fn pause(&self) -> u64 {
        loop {
            // No timer runs while a head, a response or a slow reader is waited for.
            let is_due = |_: &mut Context<'_>| {
                if self.is_between_requests() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            };
            poll_fn(is_due).await;
            let before = self.steps.get();
            sleep(LOOK_EVERY).await;
            if self.is_quiet_since(before) {
                return before;
            }
        }
    }

    fn is_quiet_since(&self, steps: u64) -> bool {
        steps == self.steps.get() && self.is_between_requests()
    }

    fn is_between_requests(&self) -> bool {
        let steps = self.steps.get();
        steps > 0 && steps.is_multiple_of(2) && !self.is_writing.get()
    }
}

/// Runs a connection until it ends, or has been idle for a while, or should end because `stop` completes. Returns
/// how it ended, and whether it did so because it was idle. `shut_down` is hyper's graceful shutdown, which ends an
/// idle connection at once and another one after its next response.
pub async fn run_until_idle<C>(
    connection: &mut C,
    activity: &Activity,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    shut_down: impl Fn(Pin<&mut C>),
) -> (C::Output, bool)
where
    C: Future + Unpin,
{
    loop {
        let quiet = tokio::select! {
            // First, so that what has arrived is read and answered.
            biased;
            ended = &mut *connection => return (ended, false),
            () = &mut stop => None,
            steps = activity.pause() => Some(steps),
        };
        if let Some(steps) = quiet {
            // The rest of a body that its handler did not read is no request. hyper drains it, or ends the connection,
            // when it is polled again.
            if let Poll::Ready(ended) = poll_once(connection).await {
                return (ended, false);
            }
            if !activity.is_quiet_since(steps) {
                continue;
            }
        }

        shut_down(Pin::new(connection));
        return match poll_once(connection).await {
            Poll::Ready(ended) => {
                let is_idle = quiet.is_some_and(|steps| activity.is_quiet_since(steps));
                (ended, is_idle)
            }
            Poll::Pending => (connection.await, false),
        };
    }
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// A connection's stream as hyper has it: first the bytes that were read before, then those of the stream. hyper
/// does not shut it down, so that it can be parked.
pub struct ServedStream<'a, S> {
    pub first: Bytes,
    pub stream: S,
    pub activity: &'a Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for ServedStream<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ServedStream<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.is_writing.set(true);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.is_writing.set(true);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.is_writing.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
