//! What is wrong with one member of a request's body, as a problem lists it.

use serde::Serialize;
use utoipa::ToSchema;

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
        Self {
            pointer: format!("#{slash}{name}"),
            detail: detail.into(),
        }
    }
}
