//! Each request as operators see it: its id, a log line, a measurement and a span.
//!
//! Names are OpenTelemetry's (semantic conventions for HTTP), in Prometheus' spelling. The label sets
//! are bounded: routes are templates, and all methods that HTTP does not define share one label.

use std::sync::Arc;
use std::{fmt, time::Instant};

use metrics::{
    Gauge, Histogram, SharedString, describe_gauge, describe_histogram, gauge, histogram,
};
use service_runtime::logging::one_line;
use service_runtime::metrics::HistogramFamily;
use service_runtime::trace::{Span, SpanKind, TraceContext};
use uuid::Uuid;
use warp::http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::auth::principal::Principal;
use crate::docs::openapi;
use crate::limits::{MAX_REQUEST_ID_BYTES, is_visible_ascii};
use crate::probes::is_probe;
use crate::problem::Problem;
use crate::response::{Response, set};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The methods that RFC 9110 and RFC 5789 define.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
];

/// What stands for all other methods.
const OTHER_METHOD: &str = "_OTHER";

/// What stands for the template of requests that match no route.
pub const NO_ROUTE: &str = "other";

/// A route's template, a method and a status.
type DurationLabels = (&'static str, &'static str, u16);

/// The metrics that the requests of one thread are recorded in.
pub struct Telemetry {
    durations: HistogramFamily<DurationLabels>,
    active: Gauge,
    url_scheme: &'static str,
}

/// The name of a request's span: method and route, as far as they are known.
struct SpanName {
    method: &'static str,
    route: &'static str,
}

impl fmt::Display for SpanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.method {
            OTHER_METHOD => "HTTP",
            method => method,
        })?;
        match self.route {
            NO_ROUTE => Ok(()),
            route => write!(f, " {route}"),
        }
    }
}

/// A request that has no response yet.
pub struct ActiveRequest<'a> {
    telemetry: &'a Telemetry,
    route: &'static str,
    method: &'static str,
    started: Instant,
    finished: bool,
    request_id: String,
    /// Whose API key it has.
    pub principal: Option<Arc<Principal>>,
    span: Span,
}

/// Describes the metrics of requests, and lets each begin at zero for the responses that the OpenAPI document has.
pub fn register_metrics(has_api_keys: bool) {
    describe_histogram!(
        "http_server_request_duration_seconds",
        "How long requests took from the end of their head to their response."
    );
    describe_gauge!(
        "http_server_active_requests",
        "Requests that have no response yet."
    );
    for (route, method, status) in openapi::responses(has_api_keys) {
        // Requests with such a head never reach a route.
        if status != StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
            let _registered = duration(route, method, status.as_u16());
        }
    }
}

fn duration(
    route: impl Into<SharedString>,
    method: impl Into<SharedString>,
    status: u16,
) -> Histogram {
    histogram!(
        "http_server_request_duration_seconds",
        "http_route" => route.into(),
        "http_request_method" => method.into(),
        "http_response_status_code" => status.to_string(),
    )
}

impl Telemetry {
    /// `over_tls`: whether all requests come over TLS.
    pub fn new(over_tls: bool) -> Self {
        Self {
            durations: HistogramFamily::new(|(route, method, status): &DurationLabels| {
                duration(*route, *method, *status)
            }),
            active: gauge!("http_server_active_requests"),
            url_scheme: if over_tls { "https" } else { "http" },
        }
    }

    /// Begins to observe a request to the route with this template. Its path is in no span: it may have what
    /// a client had better not put there, such as an e-mail address.
    pub fn begin(
        &self,
        route: &'static str,
        method: &Method,
        headers: &HeaderMap,
    ) -> ActiveRequest<'_> {
        self.active.increment(1.0);
        let known = METHODS.into_iter().find(|known| *known == method.as_str());
        let method = known.unwrap_or(OTHER_METHOD);

        let parent = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok());
        let parent = parent.and_then(|parent| parent.parse().ok());
        let mut span = Span::start(&SpanName { method, route }, SpanKind::Server, parent);
        span.set("http.request.method", method);
        span.set("url.scheme", self.url_scheme);
        if route != NO_ROUTE {
            span.set("http.route", route);
        }
        ActiveRequest {
            telemetry: self,
            route,
            method,
            started: Instant::now(),
            finished: false,
            request_id: request_id(headers),
            principal: None,
            span,
        }
    }
}

/// Writes a log line about a request, with `fields` more than every line has.
macro_rules! log {
    ($request:ident, $level:ident, $message:literal $(, $fields:ident)*) => {
        tracing::$level!(
            request_id = $request.request_id,
            trace_id = %$request.trace().trace_id(),
            method = $request.method,
            route = $request.route,
            principal = $request.principal.as_ref().map(|principal| principal.name.as_str()),
            $($fields,)*
            $message
        )
    };
}

impl ActiveRequest<'_> {
    /// The span that the work for this request belongs under.
    pub fn trace(&self) -> TraceContext {
        self.span.context()
    }

    /// Makes the response, and records it.
    pub fn finish(mut self, result: Result<Response, Problem>) -> Response {
        self.finished = true;
        let (mut response, cause) = match result {
            Ok(response) => (response, None),
            Err(mut problem) => {
                // The users service has a say in it.
                let cause = problem.cause.take().map(|cause| one_line(&cause));
                (problem.into_response(&self.request_id), cause)
            }
        };
        set(response.headers_mut(), REQUEST_ID, &self.request_id);

        let (status, elapsed) = (response.status().as_u16(), self.started.elapsed());
        let labels = (self.route, self.method, status);
        self.telemetry.durations.record(labels, elapsed);
        self.span.set("http.response.status_code", status);
        if status >= 500 {
            let cause = cause.as_deref().unwrap_or_default();
            self.span.fail(response.status().as_str(), cause);
        }

        let duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        match status {
            500.. => log!(self, warn, "request", status, duration_ms, cause),
            // Not worth a line each unless they fail.
            _ if is_probe(self.route) => {
                log!(self, debug, "request", status, duration_ms, cause);
            }
            _ => log!(self, info, "request", status, duration_ms, cause),
        }
        response
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.telemetry.active.decrement(1.0);
        if !self.finished {
            log!(self, info, "the client went away");
        }
    }
}

/// The client's `X-Request-Id` when it is usable, otherwise a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if is_visible_ascii(id.as_bytes(), MAX_REQUEST_ID_BYTES) => id.to_owned(),
        _ => Uuid::now_v7().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_named_by_what_is_known_of_method_and_route() {
        for (method, route, name) in [
            ("POST", "/users", "POST /users"),
            ("GET", NO_ROUTE, "GET"),
            (OTHER_METHOD, "/users/{id}", "HTTP /users/{id}"),
            (OTHER_METHOD, NO_ROUTE, "HTTP"),
        ] {
            assert_eq!(SpanName { method, route }.to_string(), name);
        }
    }
}
