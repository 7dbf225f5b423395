//! Responses, and how they are made.

use serde::Serialize;
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

pub use warp::reply::Response;

/// A response with a JSON body. No cache may keep it: it is about a person, or holds only for now.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Structs of strings and numbers always serialise.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Sets a header; a value that HTTP does not allow is left out.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}
