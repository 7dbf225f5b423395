//! What a request carries through the gateway.

use bytes::Bytes;
use futures::stream::LocalBoxStream;
use warp::http::{HeaderMap, Method};

use crate::upstream::Users;

/// The body of a request, as it arrives.
pub type Body = LocalBoxStream<'static, Result<Bytes, warp::Error>>;

/// A request as its handler gets it, with what the gateway knows about it.
pub struct RequestContext {
    pub method: Method,
    /// The part of the path that stands for the template's parameter, as it was sent: percent-encoding
    /// is not undone. Empty for a template without one.
    pub parameter: String,
    pub headers: HeaderMap,
    pub body: Body,
    /// Whether this process is about to end.
    pub draining: bool,
    /// The users service, to be called within this request's trace.
    pub users: Users,
}
