//! The one place where a byte stream becomes a Cap'n Proto RPC system.
//!
//! capnp-rpc reads from a `MessageReader`, which reads many messages at once, and writes to a
//! `CoalescingWriter`, which only appends to the `SendQueue`. A task of its own sends that queue. On
//! the serving side a `PeerGuard` watches both: it ends messages that take too long, and pauses reading
//! while the queue is full.

mod framing;
mod options;
mod peer_guard;
mod reader;
mod writer;

use std::{io, rc::Rc};

use capnp::{capability, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, spawn_local};

pub use options::set_socket_options;
use options::{CLIENT_READ_LIMIT, NESTING_LIMIT, SERVICE_READ_LIMIT};
use peer_guard::PeerGuard;
use reader::MessageReader;
use writer::{CoalescingWriter, SendQueue};

/// A byte stream that RPC can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// An RPC system over one byte stream, and the task that does its writing.
pub struct Connection {
    /// Spawn it: it drives the connection and ends with it.
    pub system: RpcSystem<Side>,
    /// Ends when the last byte is sent after the system ended, or with the stream's error.
    pub writer: JoinHandle<io::Result<()>>,
}

/// The calling end of a connection. It trusts its peer not to exhaust memory.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn client(stream: impl Stream) -> Connection {
    connect(stream, Side::Client, CLIENT_READ_LIMIT, None)
}

/// The serving end of a connection, which offers `bootstrap` to its peer.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn server(stream: impl Stream, bootstrap: capability::Client) -> Connection {
    connect(stream, Side::Server, SERVICE_READ_LIMIT, Some(bootstrap))
}

fn connect(
    stream: impl Stream,
    side: Side,
    read_limit: usize,
    bootstrap: Option<capability::Client>,
) -> Connection {
    let (read_half, write_half) = tokio::io::split(stream);
    let queue = Rc::new(SendQueue::default());
    // Only one side may wait for the other to read, or both could wait for ever.
    let guard = (side == Side::Server).then(|| PeerGuard::new(queue.clone()));
    let writer = spawn_local(queue.clone().send(write_half));

    let limits = ReaderOptions {
        traversal_limit_in_words: Some(read_limit),
        nesting_limit: NESTING_LIMIT,
    };
    let reader = MessageReader::new(read_half, guard);
    let network = VatNetwork::new(reader, CoalescingWriter(queue), side, limits);
    Connection {
        system: RpcSystem::new(Box::new(network), bootstrap),
        writer,
    }
}
