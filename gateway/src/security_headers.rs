//! The headers that tell browsers what a response is not for.

use warp::http::{HeaderMap, HeaderValue, header};

/// How long a browser that came by TLS goes on to use nothing else: a year.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// Sets them on a response. `over_tls`: this gateway takes no requests without TLS.
pub fn set_security_headers(headers: &mut HeaderMap, over_tls: bool) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // The page at /docs has a policy of its own.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("frame-ancestors 'none'"));
    if over_tls {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static(STRICT_TRANSPORT),
        );
    }
}
