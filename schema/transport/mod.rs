//! The one place where a TCP stream becomes a Cap'n Proto RPC system: buffers, limits, socket options.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    ops::Range,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use capnp::{capability, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until},
};

/// Largest message a service reads, in words of 8 bytes: 128 KiB, a hundred times the largest legal
/// request. It is checked before memory is committed; the library's default lets 8 bytes claim 60 MiB.
const SERVICE_READ_LIMIT: usize = 16 * 1024;
/// The same for clients: 1 MiB, several times the fullest page of `listUsers`.
const CLIENT_READ_LIMIT: usize = 128 * 1024;
/// Levels of pointers in a message. Ours has 3, the RPC protocol around it a few more.
const NESTING_LIMIT: i32 = 16;
/// How much is read at once.
const READ_BUFFER: usize = 16 * 1024;
/// Unsent bytes at which a service stops reading from a peer that does not read.
const WRITE_BUFFER_LIMIT: usize = 256 * 1024;
/// What a connection keeps of it when everything is sent.
const WRITE_BUFFER_KEPT: usize = 16 * 1024;
/// How long a message may take to arrive at a service, from its first byte; the first message of a
/// connection, from when it is accepted. Between messages a connection may rest.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may leave sent data or keep-alive probes unacknowledged.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// An RPC system over one TCP connection, and the task that does its writing.
pub struct Connection {
    /// Spawn it: it drives the connection and ends with it.
    pub system: RpcSystem<Side>,
    /// Ends when the last byte is sent after the system ended, or with the socket's error.
    pub writer: JoinHandle<io::Result<()>>,
}

/// The calling end of a connection. It trusts its peer not to exhaust memory.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn client(stream: impl Stream) -> Connection {
    connection(stream, Side::Client, None)
}

/// The serving end of a connection, which offers `bootstrap` to its peer.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn server(stream: impl Stream, bootstrap: capability::Client) -> Connection {
    connection(stream, Side::Server, Some(bootstrap))
}

fn connection<S: Stream>(
    stream: S,
    side: Side,
    bootstrap: Option<capability::Client>,
) -> Connection {
    let serves = bootstrap.is_some();
    let (read, write) = tokio::io::split(stream);
    let outbox = Rc::new(Outbox::default());
    let reader = Reader {
        socket: read,
        buffer: Vec::new(),
        unread: 0..0,
        // Only one side may wait for the other to read, or both could wait for ever.
        guard: serves.then(|| Guard::new(outbox.clone())),
    };
    let limits = ReaderOptions {
        traversal_limit_in_words: Some(if serves {
            SERVICE_READ_LIMIT
        } else {
            CLIENT_READ_LIMIT
        }),
        nesting_limit: NESTING_LIMIT,
    };
    let writer = tokio::task::spawn_local(send(outbox.clone(), write));
    let network = VatNetwork::new(reader, CoalescingWriter(outbox), side, limits);
    Connection {
        system: RpcSystem::new(Box::new(network), bootstrap),
        writer,
    }
}

/// A byte stream that RPC can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// Sets what every TCP connection that carries RPC needs: no delay, and probes that notice a dead peer.
pub fn set_socket_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // An idle link to a machine that is gone is found out after 30 + 3 * 5 seconds.
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(5));
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    Ok(())
}

/// Bytes on their way out. capnp-rpc flushes after every message; this gathers what one turn of the
/// event loop produced, so that it leaves in one write.
#[derive(Default)]
struct Outbox {
    unsent: RefCell<Vec<u8>>,
    state: Cell<State>,
    changed: Notify,
    /// The reader that waits for room.
    reader: RefCell<Option<Waker>>,
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
async fn send(outbox: Rc<Outbox>, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
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

struct CoalescingWriter(Rc<Outbox>);

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

/// The reading end. Messages come many to a read under load; a connection that rests holds no memory
/// for them, as most of many do.
struct Reader<S> {
    socket: S,
    /// What has been read, and where what has not been taken of it is.
    buffer: Vec<u8>,
    unread: Range<usize>,
    /// Of a service, which owes its peers no patience.
    guard: Option<Guard>,
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

/// What a service does to peers that read or write too slowly.
struct Guard {
    outbox: Rc<Outbox>,
    framing: Framing,
    /// Since when a message has been awaited; `None` between messages, where a peer may rest.
    waiting_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Guard {
    fn new(outbox: Rc<Outbox>) -> Self {
        let now = Instant::now();
        Self {
            outbox,
            framing: Framing::default(),
            // The first message is due at once.
            waiting_since: Some(now),
            timer: Box::pin(sleep_until(now + MESSAGE_TIMEOUT)),
        }
    }

    /// Whether to leave unread what the peer sends, until it has read more: a peer that sends calls and
    /// never reads the answers stalls itself, instead of growing our memory.
    fn is_full(&self, cx: &mut Context<'_>) -> bool {
        let full = self.outbox.unsent.borrow().len() >= WRITE_BUFFER_LIMIT;
        if full {
            self.outbox.reader.replace(Some(cx.waker().clone()));
        }
        full
    }

    /// Takes note of what was read.
    fn follow(&mut self, bytes: &[u8]) {
        let completed = self.framing.advance(bytes);
        if !self.framing.is_inside() {
            self.waiting_since = None;
        } else if completed || self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
    }

    /// Completes with an error when a message has been awaited for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(since) = self.waiting_since else {
            return Poll::Pending;
        };
        let due = since + MESSAGE_TIMEOUT;
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        let late = self.timer.as_mut().poll(cx);
        late.map(|()| io::ErrorKind::TimedOut.into())
    }
}

/// Where a stream is in its messages (Cap'n Proto encoding, "Serialization over a stream"): a table
/// with the number of segments less one and their sizes in words, padded to a word, then the segments.
#[derive(Default)]
struct Framing {
    table: Vec<u8>,
    /// Bytes to come of the message whose table is complete.
    left: u64,
}

impl Framing {
    /// The most segments that the library reads; more are an error it reports itself.
    const MAX_SEGMENTS: usize = 512;

    /// Follows the stream, and tells whether a message was completed.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let step = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= step as u64;
                bytes = &bytes[step..];
                completed |= self.left == 0;
                continue;
            }
            self.table.push(first);
            bytes = rest;
            let (words, _) = self.table.as_chunks::<4>();
            let Some((&count, sizes)) = words.split_first() else {
                continue;
            };
            let segments = (u32::from_le_bytes(count) as usize).min(Self::MAX_SEGMENTS) + 1;
            if self.table.len() == (4 + 4 * segments).next_multiple_of(8) {
                let sizes = sizes[..segments]
                    .iter()
                    .map(|size| u64::from(u32::from_le_bytes(*size)));
                self.left = 8 * sizes.sum::<u64>();
                self.table.clear();
                completed |= self.left == 0;
            }
        }
        completed
    }

    fn is_inside(&self) -> bool {
        self.left > 0 || !self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use capnp::message::{Builder, HeapAllocator};

    use super::*;
    use crate::users_capnp::user;

    /// Messages of one and of several segments, as the library writes them.
    fn messages() -> Vec<Vec<u8>> {
        let message = |segment_words, name: &str| {
            let allocator = HeapAllocator::new().first_segment_words(segment_words);
            let mut message = Builder::new(allocator);
            let mut user = message.init_root::<user::Builder>();
            user.set_name(name);
            user.set_email(name);
            capnp::serialize::write_message_to_words(&message)
        };
        vec![
            message(1024, "a"),
            message(1, "b"),
            message(5, &"c".repeat(1000)),
        ]
    }

    #[test]
    fn framing_knows_the_ends_of_messages_however_they_are_cut() {
        let messages = messages();
        for cut in [1, 3, 8, 17, 10_000] {
            let mut framing = Framing::default();
            for message in &messages {
                let completed = message.chunks(cut).map(|part| {
                    assert!(framing.is_inside() || part.as_ptr() == message.as_ptr());
                    framing.advance(part)
                });
                assert_eq!(completed.filter(|completed| *completed).count(), 1);
                assert!(!framing.is_inside());
            }
        }
        let mut framing = Framing::default();
        assert!(framing.advance(&messages.concat()) && !framing.is_inside());
    }
}
