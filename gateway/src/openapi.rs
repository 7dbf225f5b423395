//! The HTTP interface described: an OpenAPI 3.1 document, made from the types and the problems that the
//! code answers with, and a page to read it and try it.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};
use utoipa::{
    PartialSchema as _,
    openapi::{
        ComponentsBuilder, Content, ContentBuilder, HeaderBuilder, HttpMethod, InfoBuilder, KnownFormat,
        LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItemBuilder, PathsBuilder, Ref,
        Required, Response as Described, ResponseBuilder, Schema, SchemaFormat,
        example::ExampleBuilder,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{AdditionalProperties, Type},
    },
};
use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::http::{HeaderValue, StatusCode, header};

use crate::{
    http::Response,
    problem::{Document, Fault, Problem},
    users_client::User,
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

/// The page runs nothing and loads nothing but what this gateway serves.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`: the document.
pub fn document() -> Response {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| describe().to_json().unwrap_or_default());
    file(DOCUMENT.as_bytes().into(), "application/json")
}

/// `GET /docs/…`: the files of the page.
pub fn page(path: &str) -> Result<Response, Problem> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
        Arc::new(Config::from("/openapi.json").validator_url("none"))
    });
    match utoipa_swagger_ui::serve(path, CONFIG.clone()) {
        Ok(Some(SwaggerFile { bytes, content_type, .. })) => Ok(file(bytes.into(), &content_type)),
        _ => Err(Problem::not_found()),
    }
}

/// `GET /docs`: to the page, whose files lie beside it.
pub fn to_page() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/docs/"));
    response
}

fn file(bytes: Vec<u8>, content_type: &str) -> Response {
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    let policy = HeaderValue::from_static(PAGE_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn describe() -> OpenApi {
    let create = operation("createUser", "Create a user", "POST, OPTIONS")
        .description(Some(
            "Creates a user exactly once. 201: there is one durable user. 503: nothing was written. \
             504: unknown, and repeating the request with the same Idempotency-Key settles it.",
        ))
        .parameter(idempotency_key())
        .request_body(Some(
            RequestBodyBuilder::new()
                .content(
                    "application/json",
                    ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name("NewUser")))
                        .example(Some(json!({"email": "jane@example.com", "name": "Jane Doe"})))
                        .build(),
                )
                .required(Some(Required::True))
                .build(),
        ))
        .response(
            "201",
            response("The user, created now or by an earlier request with the same key.")
                .content("application/json", user_content())
                .header(
                    "Location",
                    header_of("Where to read the user.", json!(format!("/users/{EXAMPLE_ID}"))),
                )
                .header(
                    "Idempotency-Replayed",
                    header_of("Present when an earlier request created the user.", json!("true")),
                ),
        );
    let faults = vec![
        Fault::of("email", "must be an e-mail address, such as jane@example.com"),
        Fault::of("name", "is required"),
    ];
    let create = problems(
        create,
        vec![
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
        ],
    );
    let reads = || vec![Problem::malformed("The request must have one Host header.")];
    let get = operation("getUser", "Read a user", "GET, HEAD, OPTIONS")
        .parameter(
            ParameterBuilder::new()
                .name("id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The user's id. What is no UUID is no user's id: 404."))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .example(Some(json!(EXAMPLE_ID))),
        )
        .response(
            "200",
            response("The user.").content("application/json", user_content()),
        );
    let mut problems_of_get = reads();
    problems_of_get.extend([
        Problem::not_found(),
        Problem::unavailable(),
        Problem::unknown_outcome(),
    ]);
    let get = problems(get, problems_of_get);
    let status = |text: &'static str| {
        response(text).content(
            "application/json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Status")))
                .example(Some(json!({"status": "ok"})))
                .build(),
        )
    };
    let live = operation("live", "Whether the process runs", "GET, HEAD, OPTIONS")
        .response("200", status("It runs."));
    let live = problems(live, reads());
    let ready = operation("ready", "Whether requests can be expected to succeed", "GET, HEAD, OPTIONS")
        .response("200", status("They can."));
    let mut problems_of_ready = reads();
    problems_of_ready.extend([Problem::unavailable(), Problem::unknown_outcome()]);
    let ready = problems(ready, problems_of_ready);

    let path = |method, operation: OperationBuilder| {
        PathItemBuilder::new().operation(method, operation.build()).build()
    };
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Users")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Creates users exactly once, and reads them. HEAD works where GET does; OPTIONS \
                     answers 204 with what is allowed, and any other method is 405 with the same. A head \
                     of a request larger than 16 KiB is 431, without a body.",
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
                .path("/users", path(HttpMethod::Post, create))
                .path("/users/{id}", path(HttpMethod::Get, get))
                .path("/livez", path(HttpMethod::Get, live))
                .path("/readyz", path(HttpMethod::Get, ready)),
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
                        .property("status", text(Some("ok")))
                        .required("status"),
                )
                .build(),
        ))
        .build()
}

/// What the service's rules accept (`users-svc/src/rules.rs`), as far as a schema can say it.
fn new_user() -> Schema {
    let email = format!(
        "^[{SPACE}]*(?=[^@]{{1,64}}@){ATOM}(\\.{ATOM})*@{LABEL}(\\.{LABEL})+[{SPACE}]*$"
    );
    let name = format!(
        "^[{SPACE}]*[^{SPACE}{CONTROL}]([^{CONTROL}]*[^{SPACE}{CONTROL}])?[{SPACE}]*$"
    );
    let string = |pattern: String, longest, description: &str, example: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
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
            string(
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
            string(
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

fn operation(id: &str, summary: &str, allow: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag("users")
        .parameter(
            ParameterBuilder::new()
                .name("X-Request-Id")
                .parameter_in(ParameterIn::Header)
                .description(Some(
                    "Names the request in logs and in the response. What is not 1 to 128 visible \
                     ASCII characters is replaced.",
                ))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        )
        .parameter(
            ParameterBuilder::new()
                .name("traceparent")
                .parameter_in(ParameterIn::Header)
                .description(Some("W3C Trace Context; what is none is ignored."))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        )
        .description(Some(format!("Allowed here: {allow}.")))
}

fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "Makes the request safe to repeat: the same key with the same body creates one user. Keys \
             live as long as the user does.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(255))
                .pattern(Some("^[!-~]+$")),
        ))
        .build()
}

fn user_content() -> Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("User")))
        .example(Some(json!({
            "id": EXAMPLE_ID, "email": "jane@example.com", "name": "Jane Doe"
        })))
        .build()
}

/// A response with what every response carries.
fn response(description: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(description).header(
        "X-Request-Id",
        header_of("The request's id, in logs and in problems.", json!(EXAMPLE_ID)),
    )
}

fn header_of(description: &str, example: Value) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(ObjectBuilder::new().schema_type(Type::String))
        .description(Some(description))
        .example(Some(example))
        .build()
}

fn text(only: Option<&'static str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(only.map(|only| [only]))
}

/// Adds the responses for `problems`; those that share a status are examples of one response.
fn problems(operation: OperationBuilder, problems: Vec<Problem>) -> OperationBuilder {
    let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        by_status.entry(problem.status().as_u16()).or_default().push(problem);
    }
    by_status.into_iter().fold(operation, |operation, (status, problems)| {
        let titles: Vec<&str> = problems.iter().map(Problem::title).collect();
        let mut described = response(&titles.join(", or "));
        for (name, value) in problems.iter().flat_map(Problem::headers) {
            let example = json!(String::from_utf8_lossy(value.as_bytes()));
            described = described.header(name.as_str(), header_of("As it is sent.", example));
        }
        let examples = problems.iter().map(|problem| {
            let document = serde_json::to_value(problem.document(EXAMPLE_ID)).unwrap_or_default();
            let example = ExampleBuilder::new().summary(problem.title()).value(Some(document));
            (problem.title().to_lowercase().replace(' ', "-"), example.build())
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
