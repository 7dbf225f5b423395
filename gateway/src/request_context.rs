//! What a request carries through the gateway.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::LocalBoxStream;
use service_runtime::health::Readiness;
use warp::http::HeaderMap;

use crate::auth::principal::Principal;
use crate::upstream::Users;

/// The body of a request, as it arrives.
pub type Body = LocalBoxStream<'static, Result<Bytes, warp::Error>>;

/// A request as its handler gets it, with what the gateway knows about it.
pub struct RequestContext {
    /// The part of the path that stands for the template's parameter, as it was sent: percent-encoding
    /// is not undone. Empty for a template without one.
    pub parameter: String,
    /// Without its `?`, as it was sent; empty without one.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Body,
    /// Whose API key it has; `None`: it is anonymous.
    pub principal: Option<Arc<Principal>>,
    /// Whether this gateway accepts API keys.
    pub has_api_keys: bool,
    /// Whether requests should be sent to this process.
    pub readiness: Readiness,
    /// The users service, to be called within this request's trace.
    pub users: Users,
}
