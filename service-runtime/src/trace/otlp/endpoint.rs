//! Where the collector takes spans.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// The path below a collector's URL where it takes spans (OTLP exporter specification, "Endpoint URLs for
/// OTLP/HTTP").
const TRACES_PATH: &str = "v1/traces";

/// The URL that spans are posted to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// Reads the URL of a collector, below which each signal has a path of its own.
    pub fn below(text: &str) -> Option<Self> {
        let base = Self::verbatim(text)?;
        // What follows a path would be lost.
        if base.0.query().is_some() || text.contains('#') {
            return None;
        }
        Self::verbatim(&format!("{}/{TRACES_PATH}", text.trim_end_matches('/')))
    }

    /// Reads the URL that spans are posted to as it stands.
    pub fn verbatim(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let is_http = [Some("http"), Some("https")].contains(&url.scheme_str());
        let authority = url.authority()?;
        let has_port = authority.as_str() == authority.host() || authority.port_u16().is_some();
        // A user and a password in it would get into the log.
        let has_host = !authority.host().is_empty() && !authority.as_str().contains('@');
        (is_http && has_host && has_port).then_some(Self(url))
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// All of it, which may have a secret in its query.
    pub fn url(&self) -> String {
        self.0.to_string()
    }
}

impl fmt::Display for Endpoint {
    /// Writes it for people, without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str(), self.0.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        write!(
            f,
            "{}://{authority}{}",
            scheme.unwrap_or_default(),
            self.0.path()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(text: &str) -> Option<String> {
        Endpoint::below(text).map(|endpoint| endpoint.url())
    }

    #[test]
    fn url_of_a_collector_gets_the_path_of_traces_and_that_of_traces_none() {
        for (base, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp", "https://c/otlp/v1/traces"),
            (
                "https://[::1]:4318/otlp/",
                "https://[::1]:4318/otlp/v1/traces",
            ),
        ] {
            assert_eq!(below(base).as_deref(), Some(url));
        }
        for url in [
            "http://c:4318/",
            "https://c/v1/traces",
            "http://c/spans?to=x",
        ] {
            assert_eq!(Endpoint::verbatim(url).unwrap().url(), url);
        }
        assert_eq!(below("http://c/?to=x"), None);
        assert_eq!(below("http://c#x"), None);
    }

    #[test]
    fn text_that_is_no_url_with_a_host_is_no_endpoint() {
        for bad in [
            "",
            "c",
            "c:4318",
            "/v1/traces",
            "http://",
            "http:///v1/traces",
            "grpc://c:4317",
            "http://user:hunter2@c:4318",
            "http://c:port",
            "http://c c",
        ] {
            assert_eq!(Endpoint::verbatim(bad), None, "{bad}");
        }
    }

    #[test]
    fn endpoint_is_shown_without_its_query() {
        let endpoint = Endpoint::verbatim("https://c:4318/v1/traces?key=hunter2").unwrap();
        assert_eq!(endpoint.to_string(), "https://c:4318/v1/traces");
    }
}
