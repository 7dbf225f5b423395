//! A fault of one member of a request's body, as a problem lists it.

use serde::Serialize;
use utoipa::ToSchema;

/// One fault of the request's body.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Fault {
    /// Where: a JSON Pointer (RFC 6901) as a URI fragment, such as `#/email`.
    pub pointer: String,
    /// What would be right.
    pub detail: String,
}

impl Fault {
    /// A fault of the member `name` of the body; empty: of the body as a whole.
    pub fn of(name: &str, detail: impl Into<String>) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        let pointer = if name.is_empty() {
            "#".to_owned()
        } else {
            format!("#/{name}")
        };
        Self {
            pointer,
            detail: detail.into(),
        }
    }
}
