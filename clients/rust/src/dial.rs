//! How a replica is dialled: TCP, and TLS over it. In the simulation a network in memory stands in for both.

use std::io;
use std::time::{Duration, SystemTime};

use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side};
use credentials::ClientTls;
use tokio::net::TcpStream;
use tokio::time::timeout;
use users_rpc::transport;

use crate::faults::Replica;
#[cfg(test)]
use crate::simulation::SimulatedDial;

/// How long a replica may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// How links reach their replicas.
#[derive(Clone)]
pub enum Dial {
    /// In plain text.
    Tcp,
    /// By mutual TLS.
    Tls(ClientTls),
    #[cfg(test)]
    Simulated(SimulatedDial),
}

/// A connection to whatever listens at a replica's address.
pub struct Dialled {
    /// Spawn it: it drives the connection.
    pub system: RpcSystem<Side>,
    /// The time to the end of its certificates. `None`: it has none.
    pub expires_in: Option<Duration>,
}

impl Dial {
    /// Opens a connection.
    pub async fn connect(&self, replica: &Replica) -> io::Result<Dialled> {
        match self {
            Self::Tcp => Ok(Dialled {
                system: transport::client(connect_tcp(replica).await?).system,
                expires_in: None,
            }),
            Self::Tls(tls) => {
                let connect = tls.connect(&replica.host, connect_tcp(replica).await?);
                let connected = within(HANDSHAKE_TIMEOUT, "a handshake", connect).await;
                let (stream, expiry) =
                    connected.map_err(|error| io::Error::other(format!("TLS: {error}")))?;
                let left = expiry.duration_since(SystemTime::now());
                Ok(Dialled {
                    system: transport::client(stream).system,
                    expires_in: Some(left.unwrap_or_default()),
                })
            }
            #[cfg(test)]
            Self::Simulated(network) => {
                let connect = network.connect(replica.addr);
                let (stream, expires_in) = within(CONNECT_TIMEOUT, "a connection", connect).await?;
                Ok(Dialled {
                    system: transport::client(stream).system,
                    expires_in,
                })
            }
        }
    }

    /// What may be wrong when the other end lets nobody in.
    pub fn hint(&self) -> &'static str {
        if matches!(self, Self::Tls(_)) {
            "it may not accept our certificate"
        } else {
            "it may want mutual TLS"
        }
    }
}

async fn connect_tcp(replica: &Replica) -> io::Result<TcpStream> {
    let connect = TcpStream::connect(replica.addr);
    let stream = within(CONNECT_TIMEOUT, "a connection", connect).await?;
    transport::set_socket_options(&stream)?;
    Ok(stream)
}

/// Waits for `what` of the other end, for as long as `limit`.
async fn within<T>(
    limit: Duration,
    what: &str,
    done: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, done).await.unwrap_or_else(|_| {
        let ms = limit.as_millis();
        Err(io::Error::other(format!("{what} took longer than {ms} ms")))
    })
}
