//! Each request as operators see it: its id, a log line, a measurement and a span.
//!
//! Names are OpenTelemetry's (semantic conventions for HTTP), in Prometheus' spelling. The label sets
//! are bounded: routes are templates, and methods that HTTP does not define are one.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Instant};

use metrics::{Gauge, Histogram, gauge, histogram};
use service_runtime::trace::{Span, SpanKind, TraceContext};
use uuid::Uuid;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{problem::Problem, response::Response};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The route of requests that match none.
pub const NO_ROUTE: &str = "other";
/// Routes that platforms ask all the time: not worth a line each unless they fail.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// What the requests of one thread are counted in.
pub struct Observer {
    /// By route, method and status; looking a label set up in the registry costs more.
    durations: RefCell<HashMap<(&'static str, &'static str, u16), Histogram>>,
    active: Gauge,
}

/// A request that has no answer yet.
pub struct Observed {
    observer: Rc<Observer>,
    route: &'static str,
    method: &'static str,
    started: Instant,
    answered: bool,
    request_id: String,
    span: Span,
}

impl Observer {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            durations: RefCell::default(),
            active: gauge!("http_server_active_requests"),
        })
    }

    /// Begins to observe a request to the route with this template.
    pub fn request(
        self: &Rc<Self>,
        route: &'static str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Observed {
        self.active.increment(1.0);
        let method = known(method);
        let parent = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok());
        let mut span = Span::start(route, SpanKind::Server, parent.and_then(|p| p.parse().ok()));
        span.set("http.route", route);
        span.set("http.request.method", method);
        Observed {
            observer: self.clone(),
            route,
            method,
            started: Instant::now(),
            answered: false,
            request_id: request_id(headers),
            span,
        }
    }

    fn measure(&self, route: &'static str, method: &'static str, status: u16, seconds: f64) {
        let mut durations = self.durations.borrow_mut();
        let duration = durations.entry((route, method, status)).or_insert_with(|| {
            histogram!(
                "http_server_request_duration_seconds",
                "http_route" => route,
                "http_request_method" => method,
                "http_response_status_code" => status.to_string(),
            )
        });
        duration.record(seconds);
    }
}

impl Observed {
    /// The span that what is done for this request belongs under.
    pub fn trace(&self) -> TraceContext {
        self.span.context()
    }

    /// Makes the response, and says what it was.
    pub fn answer(mut self, answer: Result<Response, Problem>) -> Response {
        self.answered = true;
        let (mut response, cause) = match answer {
            Ok(response) => (response, None),
            Err(problem) => {
                let cause = problem.cause().map(ToOwned::to_owned);
                (problem.into_response(&self.request_id), cause)
            }
        };
        if let Ok(value) = HeaderValue::try_from(&self.request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let status = response.status().as_u16();
        let elapsed = self.started.elapsed();
        self.observer
            .measure(self.route, self.method, status, elapsed.as_secs_f64());
        self.span.set("http.response.status_code", status);
        let failed = status >= 500;
        if failed {
            self.span.fail(cause.as_deref().unwrap_or_default());
        }
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    request_id = self.request_id,
                    trace_id = %self.trace().trace_id(),
                    method = self.method,
                    route = self.route,
                    status,
                    duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3,
                    cause,
                    "request"
                )
            };
        }
        if failed {
            log!(warn);
        } else if PROBES.contains(&self.route) {
            log!(debug);
        } else {
            log!(info);
        }
        response
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.observer.active.decrement(1.0);
        if !self.answered {
            tracing::info!(
                request_id = self.request_id,
                trace_id = %self.trace().trace_id(),
                method = self.method,
                route = self.route,
                "the client went away"
            );
        }
    }
}

/// The method as a label; RFC 9110 and RFC 5789 define these.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// The client's `X-Request-Id` when it is usable, otherwise a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let usable = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let fits = (1..=MAX_REQUEST_ID).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
    };
    headers
        .get(REQUEST_ID)
        .and_then(usable)
        .unwrap_or_else(|| Uuid::now_v7().to_string())
}
