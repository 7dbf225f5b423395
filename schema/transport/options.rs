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
/// Unsent bytes at which a service stops reading from a peer that does not read.
pub const SEND_QUEUE_LIMIT: usize = 256 * 1024;
/// Capacity that a connection keeps of its send queue when everything is sent.
pub const SEND_QUEUE_KEPT: usize = 16 * 1024;

/// How long a message may take to arrive at a service, from its first byte; the first message of a
/// connection, from the accept. Between messages a connection may be idle.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
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
