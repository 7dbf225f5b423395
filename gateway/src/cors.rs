//! Cross-origin resource sharing: the origins whose pages may use this gateway from a browser.

use std::str::FromStr;

use futures::FutureExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use warp::Filter as _;
use warp::http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

/// The headers that a page may send.
const REQUEST_HEADERS: [&str; 5] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "traceparent",
    "x-request-id",
];
/// The headers of a response that a page may read, beside those that every page may.
const RESPONSE_HEADERS: [&str; 8] = [
    "allow",
    "idempotency-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];
/// For how many seconds a browser may remember the answer to a preflight request.
const MAX_AGE: u32 = 600;

/// A list of origins, each as browsers write it.
#[derive(Clone, Debug)]
pub struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origins = text.split(',').map(|text| origin(text.trim()));
        origins.collect::<Option<_>>().map(Self).ok_or(
            "must be origins with commas between them, each as browsers write it: in lower case, without \
             a path and without the usual port, for example CORS_ORIGINS=https://app.example.com",
        )
    }
}

/// The text, if it is an origin in the one form that browsers send (RFC 6454, section 6.2).
fn origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let usual_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let port = uri.port_u16().filter(|port| *port != usual_port);
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let origin = format!("{scheme}://{host}{port}").to_ascii_lowercase();
    // A star is a character of a host, and would match only itself.
    (origin == text && !host.contains('*')).then_some(origin)
}

/// Makes the headers that a response needs so that a page of one of `origins` can use it, out of the
/// request's method and headers. They are warp's; a request that its filter would refuse gets none of them,
/// so that its browser refuses the page, and the gateway answers as it always does: a page of its own origin
/// may send an `Origin` too.
pub fn cors<M: IntoIterator<Item = Method>>(
    origins: &Origins,
    methods: M,
) -> impl Fn(&Method, &HeaderMap) -> HeaderMap + Clone + use<M> {
    let cors = warp::cors()
        .allow_origins(origins.0.iter().map(String::as_str))
        .allow_methods(methods)
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(RESPONSE_HEADERS)
        .max_age(MAX_AGE);
    let filter = warp::any().map(warp::reply).with(cors);
    let warp = TowerToHyperService::new(warp::service(filter));

    move |method, headers| {
        let mut request = Request::new(String::new());
        *request.method_mut() = method.clone();
        for name in [
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
        ] {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let mut headers = match warp.call(request).now_or_never() {
            Some(Ok(response)) if response.status().is_success() => response.into_parts().0.headers,
            _ => HeaderMap::new(),
        };
        // No cache may give the response to a page of another origin.
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_what_browsers_send() {
        let good = "https://app.example.com,http://localhost:5173, http://127.0.0.1:8080,http://[::1]:8080";
        let origins: Origins = good.parse().unwrap();
        assert_eq!(origins.0.len(), 4);
        drop(cors(&origins, [Method::GET]));

        for bad in [
            "",
            "*",
            "null",
            "app.example.com",
            "//app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com?a",
            "https://App.example.com",
            "HTTPS://app.example.com",
            "https://app.example.com:443",
            "http://localhost:80",
            "http://localhost:",
            "http://localhost:x",
            "http://localhost:99999",
            "https://user@app.example.com",
            "https://*.example.com",
            "ftp://app.example.com",
            "https://a.example.com https://b.example.com",
            "https://a.example.com,",
        ] {
            assert!(bad.parse::<Origins>().is_err(), "{bad:?}");
        }
    }
}
