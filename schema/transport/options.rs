//! Limits of a connection, and the options of its socket.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Largest message that a service reads, in words of 8 bytes: 128 KiB, a hundred times the largest legal
/// request. It is checked before memory is committed; the library's default lets 8 bytes claim 60 MiB.
pub const SERVICE_READ_LIMIT: usize = 16 * 1024;
/// Largest message that a client reads, in words: 1 MiB, several times the fullest page of `listUsers`.
pub const CLIENT_READ_LIMIT: usize = 128 * 1024;
/// Levels of pointers in a message. Ours has 3, the RPC protocol around it a few more.
pub const NESTING_LIMIT: i32 = 16;

/// Bytes to read at once.
pub const READ_BUFFER: usize = 16 * 1024;
/// Messages of one connection after which the others of its thread get their turn.
pub const MESSAGES_PER_TURN: u32 = 64;
/// Unsent bytes at which a service stops reading from a peer that does not read.
pub const SEND_QUEUE_LIMIT: usize = 256 * 1024;
/// Large answers that are built at the same time for one connection. A page of users, with what it is made
/// of, has up to 256 KiB.
pub const LARGE_ANSWERS: usize = 4;
/// Capacity that a connection keeps of its send queue when everything is sent.
pub const SEND_QUEUE_KEPT: usize = 16 * 1024;

/// Bytes that all peers of a process hold at most, as the guards count them. The allocator needs up to half
/// as much again.
pub const MEMORY_OF_PEERS: usize = 160 * 1024 * 1024;
/// The part of what is left of it that one peer may hold: 5 MiB when it is alone.
pub const SHARES: usize = 32;
/// What any peer may hold, whatever is left: one call.
pub const MIN_SHARE: usize = 4 * 1024;
/// Pause after which a connection looks again whether there is more memory for it.
pub const SHARE_RECHECK: Duration = Duration::from_millis(100);
/// What a call in flight costs beside its message, in bytes (measured with `createUser`).
pub const CALL_COST: usize = 4 * 1024;
/// What a question costs that is answered and not finished, or the other way round, in bytes (measured).
pub const KEPT_COST: usize = 512;
/// What an entry of a table costs that was in use once, in bytes. The tables of capnp-rpc 0.27 and of the guard take
/// 178 for each place (computed from their types), never shrink, and have 32 places for 7 entries at most: they may
/// double when more than half of their places is or was in use (so the hash tables of Rust 1.95).
pub const TABLE_ENTRY_COST: usize = 832;
/// What a TLS handshake costs beside the bytes that have come in, in bytes (measured).
pub const HANDSHAKE_COST: usize = 12 * 1024;
/// Bytes beside [`MEMORY_OF_PEERS`] that only handshakes may take, so that peers who hold all of that keep
/// nobody else out.
pub const MEMORY_FOR_HANDSHAKES: usize = 48 * 1024 * 1024;
/// The part of what is left of both that one handshake may take, so that ten thousand at once leave a quarter of
/// the memory to those who have shown who they are.
pub const HANDSHAKE_SHARES: usize = 2048;
/// What a capability costs that the peer has not released, in bytes (measured with `directory`).
pub const EXPORT_COST: usize = 1024;
/// Calls that may wait for the answers of each other: the library resolves them by recursion.
pub const MAX_PIPELINE_DEPTH: u8 = 8;
/// Steps from an answer to the capability that a call is made on.
pub const MAX_TRANSFORM: u32 = 8;

/// How long a message may take to arrive at a service, from its first byte; the first message of a
/// connection, from the accept. Between messages a connection may be idle.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long reading from a peer may pause. It is longer than any call takes, so that a peer whose calls wait
/// for a slow database is not closed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a peer may leave sent data or keep-alive probes unacknowledged.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// With [`KEEPALIVE_INTERVAL`]: an idle link to a machine that is gone fails after 30 + 3 * 5 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Pause between two keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Sets what every TCP connection that carries RPC needs: no delay, and probes that notice a dead peer.
pub fn set_socket_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    Ok(())
}
