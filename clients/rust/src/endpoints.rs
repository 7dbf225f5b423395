//! Where the users service is, as a person writes it.

use std::{fmt, num::NonZeroU16, str::FromStr};

/// One or more hosts (names or IP addresses), each with a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoints(pub(crate) Vec<String>);

/// A text that is not [`Endpoints`]. The message says what would be right.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be host:port, for example users-svc:4001 or [::1]:4001, several with commas between them"
)]
pub struct ParseEndpointsError;

impl Endpoints {
    /// Each as its host, without brackets, and its port.
    pub fn hosts_and_ports(&self) -> Vec<(&str, u16)> {
        let endpoints = self.0.iter().filter_map(|endpoint| {
            let (host, port) = endpoint.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host, port.parse().ok()?))
        });
        endpoints.collect()
    }
}

impl FromStr for Endpoints {
    type Err = ParseEndpointsError;

    /// Reads `host:port`, several with commas between them.
    fn from_str(text: &str) -> Result<Self, ParseEndpointsError> {
        let endpoints = text.split(',').map(|endpoint| {
            let (host, port) = endpoint.rsplit_once(':')?;
            let is_valid = !host.is_empty() && port.parse::<NonZeroU16>().is_ok();
            is_valid.then(|| endpoint.to_owned())
        });
        endpoints
            .collect::<Option<_>>()
            .map(Self)
            .ok_or(ParseEndpointsError)
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_users_service_need_a_host_and_a_port() {
        for good in [
            "127.0.0.1:4001",
            "[::1]:4001",
            "users-svc:4001",
            "a.b.c:1",
            "a:1,b:2",
        ] {
            assert_eq!(good.parse::<Endpoints>().unwrap().to_string(), good);
        }
        let two: Endpoints = "[::1]:4001,b:2".parse().unwrap();
        assert_eq!(two.hosts_and_ports(), [("::1", 4001), ("b", 2)]);
        for bad in [
            "",
            "users-svc",
            ":4001",
            "users-svc:",
            "users-svc:0",
            "users-svc:70000",
            "a:1,b",
            "a:1,",
        ] {
            assert!(bad.parse::<Endpoints>().is_err(), "{bad}");
        }
    }
}
