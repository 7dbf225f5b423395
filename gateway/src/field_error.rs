//! What is wrong with one member of a request's body, as a problem lists it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

/// Everything but the unreserved characters of a URI (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is wrong with one member of the request's body.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where: a JSON Pointer (RFC 6901) as a URI fragment, such as `#/email`.
    pub pointer: String,
    /// What would be right.
    pub detail: String,
}

impl From<users_client::FieldError> for FieldError {
    fn from(error: users_client::FieldError) -> Self {
        Self::new(&error.field, error.reason)
    }
}

impl FieldError {
    /// An error of the member `name` of the body; empty: of the body as a whole.
    pub fn new(name: &str, detail: impl Into<String>) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        let slash = if name.is_empty() { "" } else { "/" };
        let name = utf8_percent_encode(&name, RESERVED);
        Self {
            pointer: format!("#{slash}{name}"),
            detail: detail.into(),
        }
    }
}
