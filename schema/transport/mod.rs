//! The one place where a byte stream becomes a Cap'n Proto RPC system.
//!
//! capnp-rpc reads from a `MessageReader`, which reads many messages at once, and writes to a
//! `CoalescingWriter`, which only appends to the `SendQueue`. A task of its own sends that queue. On
//! the serving side a `PeerGuard` sees every message: it bounds what the peer has the service hold, and
//! ends messages that take too long.

mod exports;
#[cfg(test)]
mod fuzz;
mod incoming;
mod metered;
mod network;
mod options;
mod peer_guard;
mod peer_memory;
mod question;
mod reader;
mod small_messages;
mod table;
mod writer;

use std::{io, rc::Rc};

use capnp::{capability, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, spawn_local};

pub use metered::Metered;
use network::GuardedNetwork;
pub use options::set_socket_options;
use options::{CLIENT_READ_LIMIT, NESTING_LIMIT, SERVICE_READ_LIMIT};
pub use peer_guard::PeerGuard;
pub use peer_memory::PeerMemory;
use reader::MessageReader;
use small_messages::SmallMessages;
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
    let (read_half, write_half) = tokio::io::split(stream);
    let queue: Rc<SendQueue> = Rc::default();
    let writer = spawn_local(queue.clone().send(write_half));

    let reader = MessageReader::new(read_half, None);
    let limits = limits(CLIENT_READ_LIMIT);
    let network = VatNetwork::new(reader, CoalescingWriter(queue), Side::Client, limits);
    Connection {
        system: RpcSystem::new(Box::new(SmallMessages(network)), None),
        writer,
    }
}

/// The serving end of a connection, which offers `bootstrap` to its peer, within the limits of a guard of
/// its own.
///
/// Call it on a thread that runs a tokio local runtime.
pub fn server(stream: impl Stream, bootstrap: capability::Client) -> Connection {
    guarded_server(stream, bootstrap, PeerGuard::new(PeerMemory::default()))
}

/// The same within the limits of `guard`.
pub fn guarded_server(
    stream: impl Stream,
    bootstrap: capability::Client,
    guard: Rc<PeerGuard>,
) -> Connection {
    let (read_half, write_half) = tokio::io::split(stream);
    let queue = guard.queue.clone();
    // Only the serving side waits for its peer to read, or both could wait for ever.
    let writer = spawn_local(queue.clone().send(write_half));

    let reader = MessageReader::new(read_half, Some(guard.clone()));
    let limits = limits(SERVICE_READ_LIMIT);
    let network = VatNetwork::new(reader, CoalescingWriter(queue), Side::Server, limits);
    let network = GuardedNetwork { network, guard };
    Connection {
        system: RpcSystem::new(Box::new(network), Some(bootstrap)),
        writer,
    }
}

fn limits(read_limit: usize) -> ReaderOptions {
    ReaderOptions {
        traversal_limit_in_words: Some(read_limit),
        nesting_limit: NESTING_LIMIT,
    }
}
