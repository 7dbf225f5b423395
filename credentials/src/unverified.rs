//! TLS to a server whose certificate is not checked.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::one_way::{OneWayTls, ServerCheck};

/// TLS over a connection to a server of this machine, for a healthcheck: a question without secrets.
///
/// No certificate is checked. Those of the server are not for the addresses of its own machine. Its files
/// may have been replaced since it has read them, which must not make it look unhealthy. And those who can
/// take its place on this machine need no network for that.
pub fn connect_unverified(stream: TcpStream) -> io::Result<impl Read + Write> {
    let tls = OneWayTls::new(ServerCheck::Key).map_err(io::Error::other)?;
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    let connection = ClientConnection::new(tls.config(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}
