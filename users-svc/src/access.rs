//! Who may come in, and what that lets a peer do: its certificate picks the capability that it gets.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;
use std::time::SystemTime;

use credentials::{Peer, ServerTls};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use users_rpc::transport::{Metered, PeerGuard};

/// The part of the time to the end of a peer's certificate after which its connection drains at the earliest.
/// The rest of it is random, so that connections that began together do not end together.
const EARLIEST_END: f64 = 0.95;

/// What a peer may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It gets `Users`.
    CreatesAndReads,
    /// It gets `UserDirectory`.
    Reads,
}

/// A peer that may come in.
#[derive(Clone, Copy)]
pub struct Admitted {
    pub role: Role,
    /// When its connection must drain. `None`: it has no end.
    pub until: Option<Instant>,
}

impl Admitted {
    /// Whoever reaches a port without access control.
    pub const ANYONE: Self = Self {
        role: Role::CreatesAndReads,
        until: None,
    };
}

/// The names of peers that may only read: subject alternative names of their certificates.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Readers(Vec<String>);

impl FromStr for Readers {
    type Err = String;

    /// Reads names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(|name| {
            let name = name.trim();
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            is_name.then(|| canonical(name))
        });
        names.collect::<Option<_>>().map(Self).ok_or_else(|| {
            "must be names of certificates (subject alternative names) with commas between them, \
             for example RPC_READERS=reports.example.com,spiffe://example.com/reports"
                .into()
        })
    }
}

impl Readers {
    /// What a peer with these names may do: one name of a reader is enough to be no more than that. Where there
    /// are readers, a peer without a name may be one of them.
    fn role_of(&self, names: &[String]) -> Role {
        let is_reader = |name: &String| self.0.contains(&canonical(name));
        let may_be_any = names.is_empty() && !self.0.is_empty();
        if may_be_any || names.iter().any(is_reader) {
            Role::Reads
        } else {
            Role::CreatesAndReads
        }
    }
}

/// A name as it is compared: DNS names have no case, nor have the scheme and the host of a URI, and an IPv6
/// address can be written in several ways.
fn canonical(name: &str) -> String {
    let address = name.parse::<IpAddr>();
    address.map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

/// Admits the peers that a CA of ours has signed.
#[derive(Clone)]
pub struct MutualTls {
    pub tls: ServerTls,
    pub readers: Readers,
}

impl MutualTls {
    /// Makes the handshake with a peer, within the limits of its guard.
    pub async fn admit(
        &self,
        stream: TcpStream,
        guard: Rc<PeerGuard>,
    ) -> io::Result<(TlsStream<Metered<TcpStream>>, Admitted)> {
        let metered = Metered::new(stream, guard.clone());
        let stream = guard.handshake(self.tls.accept(metered)).await?;
        let peer = Peer::of(stream.get_ref().1);
        let peer = peer.ok_or_else(|| io::Error::other("the peer shows no certificate"))?;
        let admitted = Admitted {
            role: self.readers.role_of(&peer.names),
            until: Some(end(peer.not_after)),
        };
        Ok((stream, admitted))
    }
}

/// When a connection drains whose peer's certificate ends at `not_after`.
fn end(not_after: SystemTime) -> Instant {
    let left = not_after.duration_since(SystemTime::now());
    let part = EARLIEST_END + fastrand::f64() * (1.0 - EARLIEST_END);
    Instant::now() + left.unwrap_or_default().mul_f64(part)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn peer_with_one_name_of_a_reader_only_reads() {
        let readers: Readers = "Reports.example.com, spiffe://example.com/reports, 2001:DB8:0::1"
            .parse()
            .unwrap();
        for reader in [
            &["reports.example.com"][..],
            &["gateway", "REPORTS.example.com"],
            &["spiffe://example.com/reports"],
            &["2001:db8::1"],
            // Perhaps its name is where nobody looks, such as the common name.
            &[],
        ] {
            assert_eq!(readers.role_of(&names(reader)), Role::Reads, "{reader:?}");
        }
        for other in [
            &["gateway"][..],
            &["x.reports.example.com"],
            &["spiffe://example.com/reports/x"],
            &["2001:db8::2"],
        ] {
            assert_eq!(
                readers.role_of(&names(other)),
                Role::CreatesAndReads,
                "{other:?}"
            );
        }
        assert_eq!(Readers::default().role_of(&[]), Role::CreatesAndReads);
    }

    #[test]
    fn connections_drain_at_random_times_before_the_certificate_of_their_peer_ends() {
        const VALID: Duration = Duration::from_secs(1000);
        let begin = Instant::now();
        let ends = || {
            let end = end(SystemTime::now() + VALID) - begin;
            end.as_secs()
        };
        let mut ends: Vec<_> = (0..1000).map(|_| ends()).collect();
        ends.sort_unstable();

        // Each lies between 95 and 100 percent, the first of a thousand near the one, the last near the other.
        assert!((950..960).contains(&ends[0]), "{}", ends[0]);
        assert!((990..=1000).contains(&ends[999]), "{}", ends[999]);
        // It has ended already.
        assert!(end(SystemTime::UNIX_EPOCH) <= Instant::now());
    }

    #[test]
    fn list_of_readers_with_an_empty_name_is_refused() {
        for bad in ["", ",", "a,,b", "a,", "a b"] {
            assert!(bad.parse::<Readers>().is_err(), "{bad:?}");
        }
    }
}
