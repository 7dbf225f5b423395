//! Problems as the OpenAPI document has them: the list of their types, and the responses that they are examples of.

use serde_json::{Value, json};

use crate::field_error::FieldError;
use crate::problem::{BY_NAME, Policy, Problem};

const EXAMPLE_ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";

/// Every `type` that a problem can have, in alphabetical order.
pub fn types() -> Value {
    let types = BY_NAME.iter().map(|(_, problem)| problem().r#type);
    let mut types: Vec<&str> = types.collect();
    types.sort_unstable();
    types.dedup();
    json!(types)
}

/// Adds a problem to the responses of an operation. Problems that share a status are examples of one
/// response.
pub fn describe(name: &str, responses: &mut Value) {
    let Some((_, problem)) = BY_NAME.iter().find(|(known, _)| *known == name) else {
        return;
    };
    let problem = with_example(name, problem());
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

/// The problem with an example of what depends on the request.
fn with_example(name: &str, mut problem: Problem) -> Problem {
    problem.request_id = EXAMPLE_ID.into();
    match name {
        "malformed" => problem.detail = Problem::malformed_at("expected value", 1, 10).detail,
        "invalid" => {
            let email = "must have a dot in the domain, as in example.com";
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
    problem
}
