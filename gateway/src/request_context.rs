//! What a request carries through the gateway.

use service_runtime::trace::TraceContext;
use warp::http::{HeaderMap, Method};

use crate::upstream::Users;

/// A request, as handlers get it.
pub struct RequestContext<'a> {
    pub users: &'a Users,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub trace: TraceContext,
    /// Whether this process is about to end.
    pub draining: bool,
}
