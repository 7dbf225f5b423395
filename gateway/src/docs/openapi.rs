//! The HTTP interface described: the skeleton `openapi.json`, with the schemas of the JSON types and the
//! responses for problems filled in.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use warp::http::StatusCode;

use crate::body::{NewUser, User, UserList};
use crate::field_error::FieldError;
use crate::limits::{MAX_HEAD_KIB, MAX_IDEMPOTENCY_KEY_BYTES, MAX_REQUEST_ID_BYTES};
use crate::probes::is_probe;
use crate::problem::{BY_NAME, Policy, Problem};

const SKELETON: &str = include_str!("openapi.json");
const EXAMPLE_ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";

// Regular expressions that patterns refer to by name, escaped as in JSON.
/// White space as both ends of a value may have it, in a class of ECMA-262.
const SPACE: &str = r"\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
/// Characters that no name may have, in a class.
const CONTROL: &str = r"\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069";
/// Characters of an atom (RFC 5322, section 3.2.3).
const ATOM: &str = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const LABEL: &str = "[A-Za-z0-9-]{1,63}";

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

    let mut paths: Paths = serde_json::from_value(document["paths"].take())?;
    for operations in paths.values_mut() {
        operations.retain(|_, operation| {
            let needs_keys = operation.remove("x-api-keys-only").is_some();
            has_api_keys || !needs_keys
        });
    }
    let operations = paths.iter_mut().flat_map(|(path, operations)| {
        let is_limited = !is_probe(path);
        operations.values_mut().map(move |op| (is_limited, op))
    });
    for (is_limited, operation) in operations {
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

        for name in names {
            describe(&name, &mut operation["responses"]);
        }
        if is_limited {
            add_rate_limit_headers(&mut operation["responses"]);
        }
    }
    if !has_api_keys && let Some(components) = document["components"].as_object_mut() {
        components.remove("securitySchemes");
    }
    document["paths"] = json!(paths);

    let values = [
        ("{VERSION}", env!("CARGO_PKG_VERSION")),
        ("{MAX_HEAD_KIB}", &MAX_HEAD_KIB.to_string()),
        ("{MAX_REQUEST_ID_BYTES}", &MAX_REQUEST_ID_BYTES.to_string()),
        ("{SPACE}", SPACE),
        ("{CONTROL}", CONTROL),
        ("{ATOM}", ATOM),
        ("{LABEL}", LABEL),
    ];
    let insert = |text: String, (name, value)| text.replace(name, value);
    Ok(values.into_iter().fold(document.to_string(), insert))
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

/// Adds a problem to the responses of an operation. Problems that share a status are examples of one
/// response.
fn describe(name: &str, responses: &mut Value) {
    let Some((_, problem)) = BY_NAME.iter().find(|(known, _)| *known == name) else {
        return;
    };
    let mut problem = problem();
    problem.request_id = EXAMPLE_ID.into();
    match name {
        "invalid" => {
            let email = "must be an e-mail address, such as jane@example.com";
            problem.errors.push(FieldError::of_member("email", email));
            problem
                .errors
                .push(FieldError::of_member("name", "is required"));
        }
        "invalid_query" => {
            let error = FieldError::of_parameter("pageSize", "must be from 1 to 100");
            problem.errors.push(error);
        }
        "quota_exceeded" => problem.violated_policies = Some([Policy::Default]),
        _ => {}
    }

    let title = problem.title;
    let response = &mut responses[problem.status.to_string()];
    response["description"] = match response["description"].as_str() {
        Some(others) => format!("{others}, or {title}").into(),
        None => title.into(),
    };
    response["headers"]["X-Request-Id"] = json!({ "$ref": "#/components/headers/RequestId" });
    for (name, value) in &*problem.headers {
        response["headers"][name.as_str()] = json!({
            "description": "As it is sent.",
            "schema": { "type": "string" },
            "example": value.to_str().unwrap_or_default(),
        });
    }

    let content = &mut response["content"]["application/problem+json"];
    content["schema"] = json!({ "$ref": "#/components/schemas/Problem" });
    let key = title.to_lowercase().replace(' ', "-");
    content["examples"][key] = json!({ "summary": title, "value": problem });
}

#[cfg(test)]
mod tests {
    use super::*;

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
