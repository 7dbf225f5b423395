//! The address that a request comes from: the socket's peer, or what trusted proxies say of the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::{self, FromStr};

use ipnet::IpNet;
use warp::http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies that are believed when they say for whom they forward a request. By default none.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromStr for TrustedProxies {
    type Err = &'static str;

    /// Parses IP addresses and networks with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = |text: &str| Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
        let network = |text: &str| text.parse().ok().or_else(|| address(text));
        // An IPv4 address within IPv6 counts as IPv4, which no network of IPv6 would fit.
        let fits = |network: &IpNet| network.addr().to_canonical() == network.addr();
        let networks = text
            .split(',')
            .map(|text| network(text.trim()).filter(fits));
        networks.collect::<Option<_>>().map(Self).ok_or(
            "must be IP addresses and networks with commas between them, \
             for example TRUSTED_PROXIES=10.0.0.0/8,2001:db8::7",
        )
    }
}

impl TrustedProxies {
    /// The client behind a connection from `peer`, in canonical form.
    ///
    /// Each proxy adds the address that it was called from at the end of `Forwarded` (RFC 7239) or of
    /// `X-Forwarded-For`. What stands before that may be the client's invention, so the headers are read from
    /// their ends, and only as far as those who wrote them are trusted.
    ///
    /// A proxy passes on the header that it does not write as it came. When both headers are there and name
    /// different clients, one of them may be forged, and nobody can tell which: the proxy's own address
    /// counts. So forgers share the quota of the proxy, and cannot use up anyone else's.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trust(peer) {
            return peer;
        }
        let client = |name, parse: fn(&str) -> Option<IpAddr>| {
            let lines = headers.get_all(name).iter().rev();
            let elements = lines.flat_map(|line| split_unquoted(line.as_bytes(), b','));
            let filled = elements.filter(|element| !element.trim_ascii().is_empty());
            let hops = filled.map(|element| parse(str::from_utf8(element).ok()?.trim()));
            headers.contains_key(name).then(|| self.walk(peer, hops))
        };
        match (
            client(&header::FORWARDED, forwarded_for),
            client(&X_FORWARDED_FOR, node),
        ) {
            (Some(one), Some(other)) if one != other => peer,
            (one, other) => one.or(other).unwrap_or(peer),
        }
    }

    /// Goes from `peer` towards the client: the first address that is not trusted, or the last one before
    /// something that is no address.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut reached = peer;
        for hop in hops {
            let Some(address) = hop else { break };
            reached = address;
            if !self.trust(reached) {
                break;
            }
        }
        reached
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The parts of a list, the last one first; a separator in a quoted string is none (RFC 9110, section 5.6.4). As
/// it begins at the end, a quotation mark that a client leaves open hides nothing of what a proxy has added.
fn split_unquoted(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut before) = (false, list.len());
    list.rsplit(move |byte| {
        before -= 1;
        if *byte == b'"' {
            let backslashes = list[..before].iter().rev();
            let backslashes = backslashes.take_while(|byte| **byte == b'\\').count();
            // After an odd number of them it is a character of the string.
            quoted ^= backslashes.is_multiple_of(2);
        }
        *byte == separator && !quoted
    })
}

/// The address in the one parameter `for` of an element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = split_unquoted(element.as_bytes(), b';');
    let mut nodes = pairs.filter_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    });
    let (Some(value), None) = (nodes.next(), nodes.next()) else {
        return None;
    };
    let unquoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    node(unquoted.unwrap_or(value))
}

/// An IP address, perhaps with a port, of which IPv6 then stands in brackets. `None` for anything else, such
/// as the obfuscated identifiers of RFC 7239.
fn node(text: &str) -> Option<IpAddr> {
    let address: IpAddr = if let Ok(address) = text.parse() {
        address
    } else if let Some((address, port)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        let is_whole = port.is_empty() || port.starts_with(':');
        is_whole.then(|| address.parse::<Ipv6Addr>().ok())??.into()
    } else {
        let (address, _port) = text.split_once(':')?;
        address.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    /// The client of a request from `peer` with these header lines.
    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted: TrustedProxies = "10.0.0.0/8, 2001:db8::7".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    fn by_forwarded(value: &str) -> String {
        client(PROXY, &[("forwarded", value)])
    }

    fn by_x_forwarded_for(value: &str) -> String {
        client(PROXY, &[("x-forwarded-for", value)])
    }

    #[test]
    fn peer_that_is_no_trusted_proxy_is_the_client_whatever_it_says() {
        let lines = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(client("192.0.2.1", &lines), "192.0.2.1");
        assert_eq!(client("2001:db8::8", &lines), "2001:db8::8");
        assert_eq!(client("2001:db8::7", &lines), "1.1.1.1");
    }

    #[test]
    fn proxy_that_names_no_client_is_the_client() {
        assert_eq!(client(PROXY, &[]), PROXY);
        for nothing in ["", " ", ",", ", ,"] {
            assert_eq!(by_x_forwarded_for(nothing), PROXY, "{nothing:?}");
            assert_eq!(by_forwarded(nothing), PROXY, "{nothing:?}");
        }
    }

    #[test]
    fn client_is_the_last_address_that_is_not_trusted() {
        let walks = [
            ("9.9.9.9", "9.9.9.9"),
            ("6.6.6.6, 9.9.9.9", "9.9.9.9"),
            ("6.6.6.6,9.9.9.9 , 10.1.1.1,10.2.2.2", "9.9.9.9"),
            ("9.9.9.9, 2001:db8::7", "9.9.9.9"),
            ("9.9.9.9,,", "9.9.9.9"),
            // Proxies only: the farthest of them.
            ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ];
        for (value, expected) in walks {
            assert_eq!(by_x_forwarded_for(value), expected, "{value}");
            let forwarded = value.replace("2001:db8::7", "\"[2001:db8::7]\"");
            let elements = forwarded.split(',').map(|part| match part.trim() {
                "" => String::new(),
                node => format!("for={node};proto=https"),
            });
            let forwarded = elements.collect::<Vec<_>>().join(",");
            assert_eq!(by_forwarded(&forwarded), expected, "{forwarded}");
        }
    }

    #[test]
    fn escaped_quotation_mark_ends_no_quoted_string() {
        let value = r#"for=9.9.9.9;host="a\",for=6.6.6.6;x=\"b""#;
        assert_eq!(by_forwarded(value), "9.9.9.9");
        let value = r#"for=6.6.6.6;host="a\\",for=9.9.9.9;x="b""#;
        assert_eq!(by_forwarded(value), "9.9.9.9");
    }

    #[test]
    fn lines_of_a_header_are_one_list() {
        let lines = ["6.6.6.6", "9.9.9.9, 10.1.1.1", "10.2.2.2"];
        let lines = lines.map(|line| ("x-forwarded-for", line));
        assert_eq!(client(PROXY, &lines), "9.9.9.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_last_proxy() {
        for garbage in [
            "unknown",
            "_hidden",
            "x",
            "1.2.3",
            "1.2.3.4.5",
            "fe80::1%eth0",
        ] {
            let value = format!("6.6.6.6, {garbage}, 10.2.2.2");
            assert_eq!(by_x_forwarded_for(&value), "10.2.2.2", "{value}");
            let value = format!("for=6.6.6.6, for={garbage}, for=10.2.2.2");
            assert_eq!(by_forwarded(&value), "10.2.2.2", "{value}");
        }
    }

    #[test]
    fn address_may_have_a_port_and_brackets() {
        let nodes = [
            ("9.9.9.9:80", "9.9.9.9"),
            ("9.9.9.9:_p", "9.9.9.9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:DB8::9]:80", "2001:db8::9"),
            ("2001:db8::9", "2001:db8::9"),
            ("::ffff:9.9.9.9", "9.9.9.9"),
            ("[::ffff:9.9.9.9]:80", "9.9.9.9"),
        ];
        for (text, expected) in nodes {
            assert_eq!(node(text).unwrap().to_string(), expected, "{text}");
            assert_eq!(
                by_forwarded(&format!("proto=http;For=\"{text}\"")),
                expected
            );
        }
        let garbage =
            "[9.9.9.9] [2001:db8::9 [2001:db8::9]80 2001:db8::9]:80 9.9.9.9: :80 :9.9.9.9";
        for text in garbage.split(' ').filter(|text| *text != "9.9.9.9:") {
            assert_eq!(node(text), None, "{text}");
        }
    }

    #[test]
    fn quotation_mark_that_a_client_leaves_open_hides_nothing() {
        assert_eq!(by_forwarded("for=\"6.6.6.6, for=9.9.9.9"), "9.9.9.9");
        assert_eq!(by_x_forwarded_for("\"6.6.6.6, 9.9.9.9"), "9.9.9.9");
    }

    #[test]
    fn text_that_a_proxy_quotes_says_nothing_about_the_client() {
        for host in ["a, for=6.6.6.6", "a;for=6.6.6.6;b", "a, for=6.6.6.6;b"] {
            let value = format!("for=9.9.9.9;host=\"{host}\"");
            assert_eq!(by_forwarded(&value), "9.9.9.9", "{value}");
        }
        // Nor does an element that names two clients, or none.
        assert_eq!(by_forwarded("for=9.9.9.9;for=6.6.6.6"), PROXY);
        assert_eq!(by_forwarded("for=6.6.6.6, by=10.0.0.1"), PROXY);
    }

    #[test]
    fn headers_that_name_different_clients_count_for_the_proxy() {
        let both =
            |forwarded, x| client(PROXY, &[("forwarded", forwarded), ("x-forwarded-for", x)]);
        assert_eq!(both("for=6.6.6.6", "9.9.9.9"), PROXY);
        assert_eq!(both("for=9.9.9.9", "6.6.6.6"), PROXY);
        assert_eq!(both("for=_x", "9.9.9.9"), PROXY);
        assert_eq!(both("for=9.9.9.9", "6.6.6.6, 9.9.9.9"), "9.9.9.9");
    }

    #[test]
    fn text_that_is_no_list_of_addresses_is_refused() {
        for bad in [
            "",
            "proxy",
            "10.0.0.0/33",
            "10.0.0.1,",
            "10.0.0.1 10.0.0.2",
            "10.0.0.1:80",
        ] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad:?}");
        }
        // No address would ever be in this network.
        assert!("::ffff:10.0.0.0/104".parse::<TrustedProxies>().is_err());
        let mapped: TrustedProxies = "::ffff:10.0.0.1".parse().unwrap();
        assert!(mapped.trust([10, 0, 0, 1].into()));
    }
}
