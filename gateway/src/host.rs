//! Whether it is clear whom a request is for: its `Host` header.

use std::net::Ipv6Addr;

use warp::http::{HeaderMap, Version, header, uri::Authority};

use crate::problem::Problem;

/// Refuses a request whose addressee is not clear (RFC 9112, section 3.2): it needs one valid `Host`
/// header, which HTTP/1.0 did not have.
pub fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (None, _) if version < Version::HTTP_11 => Ok(()),
        _ => Err(Problem::bad_host()),
    }
}

/// Whether `value` is a host without user, perhaps with a port, or empty (RFC 9110, section 7.2).
fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else {
        return value.is_empty();
    };
    let host = authority.host();
    let is_name = || !host.contains(['[', ']']);
    let is_ipv6 = |rest: &str| rest.trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());

    let Some(rest) = authority.as_str().strip_prefix(host) else {
        return false;
    };
    host.strip_prefix('[').map_or_else(is_name, is_ipv6)
        && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_name_or_an_address_with_or_without_a_port() {
        let good = " h H.example. h:80 h: :80 127.0.0.1:3000 [::1] [::1]:80 a_b a,b";
        for good in good.split(' ') {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        let bad = "u@h u:p@h h@h h:80@h h/ h?q h#f http://h h:x h:+80 h:1:2 ::1 [::1 [::1]x [::1]80 [x] h[] \
            a\\b a%zz é h\" <h> ^";
        for bad in bad.split(' ').chain(["a b", " ", "h\t"]) {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
