//! The HTTP interface described: the skeleton `openapi.json`, with the schemas of the JSON types and the
//! responses for problems filled in.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use warp::http::StatusCode;

use crate::body::{NewUser, User, UserList};
use crate::field_error::FieldError;
use crate::limits::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_REQUEST_ID_BYTES};
use crate::probes::is_probe;
use crate::problem::Problem;

use super::problems;

const SKELETON: &str = include_str!("openapi.json");

// Regular expressions that patterns refer to by name, escaped as in JSON.
/// White space as both ends of a value may have it, in a class of ECMA-262.
const SPACE: &str = r"\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
/// Characters that no name may have, in a class.
const CONTROL: &str = r"\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069";
/// Characters of an atom (RFC 5322, section 3.2.3).
const ATOM: &str = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
/// A part of a host name between two dots (RFC 1123, section 2.1).
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";

#[derive(OpenApi)]
#[openapi(components(schemas(NewUser, User, UserList, Problem, FieldError)))]
struct Schemas;

/// Operations, by path and method.
type Paths = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

/// What goes wrong with API keys, where an operation needs one.
const API_KEY_PROBLEMS: [&str; 3] = ["api_key_required", "unknown_api_key", "insufficient_scope"];

/// The document of a gateway that accepts API keys, or of one that does not, as JSON.
pub fn document(has_api_keys: bool) -> &'static str {
    static WITH_KEYS: LazyLock<String> = LazyLock::new(|| build(true).unwrap_or_default());
    static WITHOUT_KEYS: LazyLock<String> = LazyLock::new(|| build(false).unwrap_or_default());
    if has_api_keys {
        &WITH_KEYS
    } else {
        &WITHOUT_KEYS
    }
}

/// The responses in the document, each as the path, the method and the status.
pub fn responses(has_api_keys: bool) -> Vec<(String, String, StatusCode)> {
    let document: Value = serde_json::from_str(document(has_api_keys)).unwrap_or_default();
    let mut responses = Vec::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let documented = operation["responses"].as_object().into_iter().flatten();
            let statuses = documented.filter_map(|(status, _)| status.parse().ok());
            responses.extend(statuses.map(|status| (path.clone(), method.to_uppercase(), status)));
        }
    }
    responses
}

fn build(has_api_keys: bool) -> serde_json::Result<String> {
    let mut document: Value = serde_json::from_str(SKELETON)?;
    let key = &mut document["components"]["parameters"]["IdempotencyKey"];
    key["schema"]["maxLength"] = MAX_IDEMPOTENCY_KEY_BYTES.into();
    for (name, schema) in Schemas::openapi().components.unwrap_or_default().schemas {
        document["components"]["schemas"][name] = json!(schema);
    }
    document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] = problems::types();
    if !has_api_keys {
        remove(&mut document["components"], "securitySchemes");
        remove(&mut document["components"]["schemas"], "UserList");
    }

    let mut paths: Paths = serde_json::from_value(document["paths"].take())?;
    for operations in paths.values_mut() {
        operations.retain(|_, operation| {
            let needs_keys = operation.remove("x-api-keys-only").is_some();
            has_api_keys || !needs_keys
        });
    }
    for (path, operations) in &mut paths {
        for operation in operations.values_mut() {
            add_problems(operation, has_api_keys, !is_probe(path))?;
        }
    }
    document["paths"] = json!(paths);

    let values = [
        ("{VERSION}", env!("CARGO_PKG_VERSION")),
        ("{MAX_REQUEST_ID_BYTES}", &MAX_REQUEST_ID_BYTES.to_string()),
        ("{SPACE}", SPACE),
        ("{CONTROL}", CONTROL),
        ("{ATOM}", ATOM),
        ("{LABEL}", LABEL),
    ];
    let insert = |text: String, (name, value)| text.replace(name, value);
    Ok(values.into_iter().fold(document.to_string(), insert))
}

/// Adds the problems of an operation to its responses: those that the skeleton names, and those that any
/// operation of its kind has.
fn add_problems(
    operation: &mut Map<String, Value>,
    has_api_keys: bool,
    is_limited: bool,
) -> serde_json::Result<()> {
    let names = operation.remove("x-problems").unwrap_or_default();
    let mut names: Vec<String> = serde_json::from_value(names)?;
    if !has_api_keys {
        operation.remove("security");
    } else if operation.contains_key("security") {
        names.extend(API_KEY_PROBLEMS.map(ToOwned::to_owned));
    }
    if is_limited {
        names.push("quota_exceeded".into());
    }

    let responses = &mut operation["responses"];
    for name in names {
        problems::describe(&name, responses);
    }
    if is_limited {
        add_rate_limit_headers(responses);
    }
    // It is refused before the rate limit sees it.
    problems::describe("head_too_large", responses);
    Ok(())
}

/// Adds the headers that every response has where there is a rate limit.
fn add_rate_limit_headers(responses: &mut Value) {
    let responses = responses.as_object_mut().into_iter().flatten();
    for (_, response) in responses.filter(|(_, response)| response.get("$ref").is_none()) {
        for name in ["RateLimit", "RateLimit-Policy"] {
            let reference = format!("#/components/headers/{}", name.replace('-', ""));
            response["headers"][name] = json!({ "$ref": reference });
        }
    }
}

fn remove(object: &mut Value, member: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(member);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::problem::BY_NAME;

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    #[test]
    fn document_lists_the_type_of_every_problem() {
        let document: Value = serde_json::from_str(document(false)).unwrap();
        let listed = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
        let listed: BTreeSet<&str> = listed.as_array().unwrap().iter().map(text).collect();
        let problems = BY_NAME.iter().map(|(_, problem)| json!(problem()));
        let sent: Vec<Value> = problems.map(|mut problem| problem["type"].take()).collect();
        assert_eq!(listed, sent.iter().map(text).collect());
        for known in [
            "about:blank",
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "urn:problem-type:users:email-taken",
        ] {
            assert!(listed.contains(known), "{known}");
        }
    }

    #[test]
    fn every_problem_of_the_skeleton_exists() {
        let skeleton: Value = serde_json::from_str(SKELETON).unwrap();
        let paths = skeleton["paths"].as_object().unwrap().values();
        for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
            for name in operation["x-problems"].as_array().unwrap() {
                assert!(BY_NAME.iter().any(|(known, _)| name == known), "{name}");
            }
        }
    }

    #[test]
    fn document_has_no_placeholder_left() {
        let document = document(true);
        let names = document.split('{').filter_map(|text| text.split_once('}'));
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let left: Vec<_> = names.filter(|(name, _)| is_name(name)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
