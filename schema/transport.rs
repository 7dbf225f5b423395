//! The one place where a TCP stream becomes a Cap'n Proto RPC system: buffers, limits, socket options.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use capnp::{capability, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use futures::{AsyncRead, AsyncWrite, io::BufReader};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Largest message a service reads, in words of 8 bytes: 128 KiB, a hundred times the largest legal
/// request. It is checked before memory is committed; the library's default lets 8 bytes claim 60 MiB.
const SERVICE_READ_LIMIT: usize = 16 * 1024;
/// The same for clients: 1 MiB, several times the fullest page of `listUsers`.
const CLIENT_READ_LIMIT: usize = 128 * 1024;
/// Levels of pointers in a message. Ours has 3, the RPC protocol around it a few more.
const NESTING_LIMIT: i32 = 16;
/// Messages come many to a read under load; an idle connection touches one page of this.
const READ_BUFFER: usize = 16 * 1024;
/// Unsent bytes at which a service stops reading from a peer that does not read.
const WRITE_BUFFER_LIMIT: usize = 256 * 1024;
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
pub fn client(stream: TcpStream) -> io::Result<Connection> {
    connection(stream, Side::Client, None)
}

/// The serving end of a connection, which offers `bootstrap` to its peer.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn server(stream: TcpStream, bootstrap: capability::Client) -> io::Result<Connection> {
    connection(stream, Side::Server, Some(bootstrap))
}

fn connection(
    stream: TcpStream,
    side: Side,
    bootstrap: Option<capability::Client>,
) -> io::Result<Connection> {
    let serves = bootstrap.is_some();
    set_options(&stream)?;
    let (read, write) = stream.into_split();
    let outbox = Rc::new(Outbox::default());
    let reader = GatedReader {
        inner: read.compat(),
        // Only one side may wait for the other to read, or both could wait for ever.
        gate: serves.then(|| outbox.clone()),
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
    let reader = BufReader::with_capacity(READ_BUFFER, reader);
    let network = VatNetwork::new(reader, CoalescingWriter(outbox), side, limits);
    Ok(Connection {
        system: RpcSystem::new(Box::new(network), bootstrap),
        writer,
    })
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
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
async fn send(outbox: Rc<Outbox>, mut socket: OwnedWriteHalf) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        outbox.changed.notified().await;
        // Lets every task that is ready now add its messages.
        tokio::task::yield_now().await;
        while !outbox.unsent.borrow().is_empty() {
            std::mem::swap(&mut *outbox.unsent.borrow_mut(), &mut batch);
            let sent = socket.write_all(&batch).await;
            if sent.is_err() {
                outbox.state.set(State::Broken);
                *outbox.unsent.borrow_mut() = Vec::new();
            }
            batch.clear();
            batch.shrink_to(WRITE_BUFFER_LIMIT);
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

impl AsyncWrite for CoalescingWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0.state.get() == State::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.0.unsent.borrow_mut().extend_from_slice(bytes);
        self.0.changed.notify_one();
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

/// Stops reading while too much is unsent, so that a peer that sends calls and never reads the
/// answers stalls itself instead of growing our memory.
struct GatedReader<R> {
    inner: R,
    gate: Option<Rc<Outbox>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for GatedReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(outbox) = &self.gate
            && outbox.unsent.borrow().len() >= WRITE_BUFFER_LIMIT
        {
            outbox.reader.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
