//! Whom a client calls, as spans say it.

use super::Span;

/// The servers that a client is told to call: any of them may answer (OpenTelemetry semantic conventions,
/// "Server attributes").
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAddress {
    address: String,
    /// `None`: they have different ports, which are in the address.
    port: Option<u16>,
}

impl ServerAddress {
    /// The address of these servers, each a host (or a socket) and a port.
    pub fn new<H: AsRef<str>>(servers: &[(H, u16)]) -> Self {
        let common = servers.first().map(|(_, port)| *port);
        let port = common.filter(|common| servers.iter().all(|(_, port)| port == common));
        let address = |(host, own): &(H, u16)| match (host.as_ref(), port) {
            (host, Some(_)) => host.to_owned(),
            (host, None) if host.contains(':') => format!("[{host}]:{own}"),
            (host, None) => format!("{host}:{own}"),
        };
        let addresses: Vec<_> = servers.iter().map(address).collect();
        Self {
            address: addresses.join(","),
            port,
        }
    }

    /// Sets the attributes of a span that calls them.
    pub fn set_on(&self, span: &mut Span) {
        span.set("server.address", self.address.as_str());
        if let Some(port) = self.port {
            span.set("server.port", port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_by_itself_unless_servers_have_different_ones() {
        for (servers, address, port) in [
            (&[("db", 5432)][..], "db", Some(5432)),
            (&[("::1", 5432)], "::1", Some(5432)),
            (&[("a", 5432), ("b", 5432)], "a,b", Some(5432)),
            (&[("a", 1), ("::1", 2)], "a:1,[::1]:2", None),
            (&[], "", None),
        ] {
            let address = address.to_owned();
            assert_eq!(ServerAddress::new(servers), ServerAddress { address, port });
        }
    }
}
