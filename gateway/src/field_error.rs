//! What is wrong with one member of a request's body or one parameter of its query, as a problem lists it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

/// Errors to list of a request that has nothing but errors.
pub const MAX_ERRORS: usize = 16;
/// Characters to show of a name that should not be there.
const MAX_NAME_SHOWN: usize = 64;

/// Everything but the unreserved characters of a URI (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is wrong with one member of the request's body, or with one parameter of its query.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where in the body: a JSON Pointer (RFC 6901) as a URI fragment, such as `#/email`.
    #[schema(value_type = String, format = "uri-reference", required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which parameter of the query, such as `pageSize`.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What would be right.
    pub detail: String,
}

impl From<users_client::FieldError> for FieldError {
    fn from(error: users_client::FieldError) -> Self {
        Self::of_member(&error.field, error.reason)
    }
}

impl FieldError {
    /// An error of the member `name` of the body; empty: of the body as a whole.
    pub fn of_member(name: &str, detail: impl Into<String>) -> Self {
        let name = shown(name).replace('~', "~0").replace('/', "~1");
        let slash = if name.is_empty() { "" } else { "/" };
        let name = utf8_percent_encode(&name, RESERVED);
        Self {
            pointer: Some(format!("#{slash}{name}")),
            parameter: None,
            detail: detail.into(),
        }
    }

    /// An error of the parameter `name` of the query.
    pub fn of_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(shown(name)),
            detail: detail.into(),
        }
    }
}

/// As much of a name as is shown.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME_SHOWN).collect()
}
