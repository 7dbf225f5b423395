//! The one place where a TCP stream becomes a Cap'n Proto RPC system: buffers, limits, socket options.

mod framing;
mod options;
mod peer_guard;
mod reader;
mod writer;

use std::{io, rc::Rc};

use capnp::{capability, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

pub use options::set_socket_options;
use options::{CLIENT_READ_LIMIT, NESTING_LIMIT, SERVICE_READ_LIMIT};
use peer_guard::Guard;
use reader::Reader;
use writer::{CoalescingWriter, Outbox, send};

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
