//! Ports for programs that are started with one, instead of being asked which they got.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what systems give to outgoing connections and to port 0 (Linux: from 32768, others: from
/// 49152). There, any connection of another program could take a port that is found free, before the
/// program it is meant for opens it, or while that one is restarted.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port that is free on every address of this machine. No two calls in one process return the same,
/// before there are no others.
pub fn free_port() -> io::Result<u16> {
    // Processes that run at the same time begin at different ports.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let mut taken = None;
    for _ in PORTS {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let port = PORTS.start + turn;
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = Some(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// The same with the address 127.0.0.1.
pub fn free_addr() -> io::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let ports: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        let different: std::collections::HashSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 100);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports[0])).is_err());
        drop(held);
    }
}
