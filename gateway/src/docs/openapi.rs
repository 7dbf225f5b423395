//! The HTTP interface described: an OpenAPI 3.1 document, made from the types and the problems that the
//! code answers with.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};
use utoipa::{
    PartialSchema as _,
    openapi::{
        ComponentsBuilder, Content, ContentBuilder, Header, HttpMethod, InfoBuilder,
        LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref,
        Required, ResponseBuilder, Schema,
        example::ExampleBuilder,
        header::HeaderBuilder,
        link::LinkBuilder,
        path::{OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{AdditionalProperties, Type},
    },
};

use crate::{
    body::User,
    field_error::Fault,
    problem::{Document, Problem},
};

/// White space as both ends of a value may have it, in a class of ECMA-262.
const SPACE: &str =
    r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
/// Characters that no name may have.
const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069";
/// Characters of an atom (RFC 5322, section 3.2.3).
const ATOM: &str = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const LABEL: &str = "[A-Za-z0-9-]{1,63}";
const EXAMPLE_ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";

/// The document, as JSON.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| describe().to_json().unwrap_or_default());
    &DOCUMENT
}

fn describe() -> OpenApi {
    let path = |method, operation: OperationBuilder| PathItem::new(method, operation);
    let runs = probe("live", "Whether the process runs", Vec::new());
    let serves = probe(
        "ready",
        "Whether requests can be expected to succeed",
        vec![Problem::unavailable(), Problem::unknown_outcome()],
    );
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Users")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Creates users exactly once, and reads them. HEAD works where GET does; OPTIONS \
                     answers 204 with what is allowed, and any other method is 405 with the same.",
                ))
                .license(Some(
                    LicenseBuilder::new()
                        .name("MIT OR Apache-2.0")
                        .identifier(Some("MIT OR Apache-2.0"))
                        .build(),
                )),
        )
        .paths(
            PathsBuilder::new()
                .path("/users", path(HttpMethod::Post, create_user()))
                .path("/users/{id}", path(HttpMethod::Get, get_user()))
                .path("/livez", path(HttpMethod::Get, runs))
                .path("/readyz", path(HttpMethod::Get, serves)),
        )
        .components(Some(
            ComponentsBuilder::new()
                .schema("NewUser", new_user())
                .schema("User", User::schema())
                .schema("Problem", Document::schema())
                .schema("Fault", Fault::schema())
                .schema(
                    "Status",
                    ObjectBuilder::new()
                        .property("status", string().enum_values(Some(["ok"])))
                        .required("status"),
                )
                .build(),
        ))
        .build()
}

fn create_user() -> OperationBuilder {
    let example = json!({"email": "jane@example.com", "name": "Jane Doe"});
    let location = header_of("Where to read the user.", &format!("/users/{EXAMPLE_ID}"));
    let replayed = header_of("Present when an earlier request created the user.", "true");
    let operation = operation("users", "createUser", "Create a user")
        .description(Some(
            "Creates a user exactly once. 201: there is one durable user. 503: nothing was written. \
             504: unknown, and repeating the request with the same Idempotency-Key settles it.",
        ))
        .parameter(
            header_parameter(
                "Idempotency-Key",
                "Makes the request safe to repeat: the same key with the same body creates one user. \
                 Keys live as long as the user does.",
            )
            .schema(Some(
                string()
                    .min_length(Some(1))
                    .max_length(Some(255))
                    .pattern(Some("^[!-~]+$")),
            )),
        )
        .request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", content("NewUser", example))
                .required(Some(Required::True))
                .build(),
        ))
        .response(
            "201",
            response("The user, created now or by an earlier request with the same key.")
                .content("application/json", user())
                .header("Location", location)
                .header("Idempotency-Replayed", replayed)
                .link(
                    "getUser",
                    LinkBuilder::new()
                        .operation_id("getUser")
                        .parameter("id", "$response.body#/id")
                        .build(),
                ),
        );
    let faults = vec![
        Fault::of(
            "email",
            "must be an e-mail address, such as jane@example.com",
        ),
        Fault::of("name", "is required"),
    ];
    let might = vec![
        Problem::malformed("The body must be JSON (RFC 8259) in UTF-8."),
        Problem::invalid(faults),
        Problem::bad_idempotency_key(),
        Problem::body_timeout(),
        Problem::email_taken(),
        Problem::too_large(),
        Problem::unsupported_media_type(),
        Problem::key_reused(),
        Problem::unavailable(),
        Problem::unknown_outcome(),
    ];
    problems(operation, might)
}

fn get_user() -> OperationBuilder {
    let operation = operation("users", "getUser", "Read a user")
        .parameter(
            ParameterBuilder::new()
                .name("id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The user's id. What is no UUID is no user's id: 404."))
                .schema(Some(string()))
                .example(Some(json!(EXAMPLE_ID))),
        )
        .response(
            "200",
            response("The user.").content("application/json", user()),
        );
    let might = vec![
        Problem::ambiguous_host(),
        Problem::not_found(),
        Problem::unavailable(),
        Problem::unknown_outcome(),
    ];
    problems(operation, might)
}

fn probe(id: &str, summary: &str, mut might: Vec<Problem>) -> OperationBuilder {
    let status = content("Status", json!({"status": "ok"}));
    let operation = operation("probes", id, summary)
        .response("200", response("Yes.").content("application/json", status));
    might.push(Problem::ambiguous_host());
    problems(operation, might)
}

/// What the service's rules accept (`users-svc/src/user.rs`), as far as a schema can say it.
fn new_user() -> Schema {
    let email =
        format!("^[{SPACE}]*(?=[^@]{{1,64}}@){ATOM}(\\.{ATOM})*@{LABEL}(\\.{LABEL})+[{SPACE}]*$");
    let name =
        format!("^[{SPACE}]*[^{SPACE}{CONTROL}]([^{CONTROL}]*[^{SPACE}{CONTROL}])?[{SPACE}]*$");
    let member = |pattern: String, longest, description: &str, example: &str| {
        string()
            .pattern(Some(pattern))
            .min_length(Some(1))
            .max_length(Some(longest))
            .description(Some(description))
            .examples([json!(example)])
    };
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property(
            "email",
            member(
                email,
                254,
                "An e-mail address in ASCII with a dotted domain. Space around it is dropped. Unique \
                 without regard to case.",
                "jane@example.com",
            ),
        )
        .required("email")
        .property(
            "name",
            member(
                name,
                200,
                "Space around it is dropped. No control or bidi override characters.",
                "Jane Doe",
            ),
        )
        .required("name")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .into()
}

fn operation(tag: &str, id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag(tag)
        .parameter(header_parameter(
            "X-Request-Id",
            "Names the request in logs and in the response. What is not 1 to 128 visible ASCII \
             characters is replaced.",
        ))
        .parameter(header_parameter(
            "traceparent",
            "W3C Trace Context; what is none is ignored.",
        ))
        .response(
            "431",
            ResponseBuilder::new().description("The head is larger than 16 KiB. No body."),
        )
}

fn header_parameter(name: &str, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .schema(Some(string()))
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn content(schema: &str, example: Value) -> Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .example(Some(example))
        .build()
}

fn user() -> Content {
    let example = json!({ "id": EXAMPLE_ID, "email": "jane@example.com", "name": "Jane Doe" });
    content("User", example)
}

/// A response with what every response carries.
fn response(description: &str) -> ResponseBuilder {
    let id = header_of("The request's id, in logs and in problems.", EXAMPLE_ID);
    ResponseBuilder::new()
        .description(description)
        .header("X-Request-Id", id)
}

fn header_of(description: &str, example: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(string()))
        .description(Some(description))
        .example(Some(json!(example)))
        .build()
}

/// Adds the responses for `problems`; those that share a status are examples of one response.
fn problems(operation: OperationBuilder, problems: Vec<Problem>) -> OperationBuilder {
    let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        by_status
            .entry(problem.status().as_u16())
            .or_default()
            .push(problem);
    }
    by_status
        .into_iter()
        .fold(operation, |operation, (status, problems)| {
            let titles: Vec<&str> = problems.iter().map(Problem::title).collect();
            let mut described = response(&titles.join(", or "));
            for (name, value) in problems.iter().flat_map(Problem::headers) {
                let example = value.to_str().unwrap_or_default();
                described = described.header(name.as_str(), header_of("As it is sent.", example));
            }
            let examples = problems.iter().map(|problem| {
                let document =
                    serde_json::to_value(problem.document(EXAMPLE_ID)).unwrap_or_default();
                let example = ExampleBuilder::new()
                    .summary(problem.title())
                    .value(Some(document));
                (
                    problem.title().to_lowercase().replace(' ', "-"),
                    example.build(),
                )
            });
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .examples_from_iter(examples)
                .build();
            operation.response(
                status.to_string(),
                described.content("application/problem+json", content),
            )
        })
}
