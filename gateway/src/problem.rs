//! Every error of the gateway, as a problem document (RFC 9457, `application/problem+json`).

use serde::Serialize;
use users_client::CallError;
use utoipa::ToSchema;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::field_error::FieldError;
use crate::limits::{
    BODY_TIMEOUT, MAX_BODY_KIB, MAX_HEAD_KIB, MAX_HEADERS, MAX_IDEMPOTENCY_KEY_BYTES,
};
use crate::response::{Response, json};

/// An error of this interface (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is, for programs; `about:blank`: the status says it all.
    #[schema(format = "uri")]
    pub r#type: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was wrong, or what would be right.
    pub detail: Box<str>,
    /// Everything that is wrong with the body or the query; while the users service cannot be asked, with its shape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The policies whose quota is used up, as `RateLimit-Policy` names them.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    pub violated_policies: Option<[Policy; 1]>,
    /// The request's id, as in the header `X-Request-Id`.
    #[serde(rename = "requestId")]
    pub request_id: Box<str>,
    /// The headers that belong to it.
    #[serde(skip)]
    pub headers: Box<HeaderMap>,
    /// For the log, not for the client.
    #[serde(skip)]
    pub cause: Option<Box<str>>,
}

/// A policy of the rate limit. There is one.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Default,
}

/// Makes a constructor of each row of the table, and the list that finds them by name.
macro_rules! problems {
    ($(
        $(#[$doc:meta])*
        $name:ident: $status:literal $kind:tt $title:literal, $detail:expr $(, $header:ident $value:literal)?;
    )*) => {
        impl Problem {
            $(
                $(#[$doc])*
                pub fn $name() -> Self {
                    let headers = [$((header::$header, HeaderValue::from_static($value)))?];
                    Self {
                        r#type: type_uri!($kind),
                        title: $title,
                        status: $status,
                        detail: $detail.into(),
                        errors: Vec::new(),
                        violated_policies: None,
                        request_id: Box::default(),
                        headers: Box::new(HeaderMap::from_iter(headers)),
                        cause: None,
                    }
                }
            )*
        }

        /// Every problem, by the name that the OpenAPI skeleton calls it.
        pub const BY_NAME: &[(&str, fn() -> Problem)] = &[$((stringify!($name), Problem::$name)),*];
    };
}

/// The stable `type` of a problem. One without a kind of its own is described by its status.
macro_rules! type_uri {
    ("") => {
        "about:blank"
    };
    ((iana $kind:literal)) => {
        concat!("https://iana.org/assignments/http-problem-types#", $kind)
    };
    ($kind:tt) => {
        concat!("urn:problem-type:users:", $kind)
    };
}

problems! {
    malformed: 400 "malformed" "Malformed request",
        "The body must be JSON (RFC 8259) in UTF-8.";
    not_an_object: 400 "malformed" "Malformed request",
        "The body must be a JSON object with the members email and name.";
    body_broke_off: 400 "malformed" "Malformed request",
        "The body broke off.";
    /// It takes the place of hyper's own answer.
    unreadable_head: 400 "malformed" "Malformed request",
        "The request line and the headers must be HTTP/1.1 (RFC 9112).", CONNECTION "close";
    /// Not exactly one valid `Host`: what follows may be meant for someone else.
    bad_host: 400 "malformed" "Malformed request",
        "The request must have one Host header, with a host and perhaps a port.", CONNECTION "close";
    /// Values that break rules, all of them listed.
    invalid: 400 "invalid" "Invalid request",
        "The body breaks the rules listed in errors.";
    invalid_query: 400 "invalid" "Invalid request",
        "The query breaks the rules listed in errors.";
    /// `Idempotency-Key` is not what its draft and the gateway ask for.
    bad_idempotency_key: 400 "bad-idempotency-key" "Bad Idempotency-Key",
        format!("Idempotency-Key must be sent once, with 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters.");

    api_key_required: 401 "" "Unauthorized",
        "This request needs an API key, in one header: Authorization: Bearer KEY.", WWW_AUTHENTICATE r#"Bearer realm="users""#;
    /// Also one that was valid once.
    unknown_api_key: 401 "unknown-api-key" "Unknown API key",
        "The API key is not valid.", WWW_AUTHENTICATE r#"Bearer realm="users", error="invalid_token""#;
    /// The router adds the scope.
    insufficient_scope: 403 "insufficient-scope" "Insufficient scope",
        "The API key is valid but lacks the scope that WWW-Authenticate names.", WWW_AUTHENTICATE
        r#"Bearer realm="users", error="insufficient_scope""#;

    not_found: 404 "" "Not Found",
        "There is nothing at this path.";
    user_not_found: 404 "user-not-found" "User not found",
        "There is no user with this id.";
    /// `Allow` is the router's to add.
    method_not_allowed: 405 "" "Method Not Allowed",
        "This resource does not take this method; the Allow header lists those it does.";
    /// The body came too slowly. The rest of it is not waited for.
    body_timeout: 408 "" "Request Timeout",
        format!("The body did not arrive within {} seconds.", BODY_TIMEOUT.as_secs()), CONNECTION "close";
    email_taken: 409 "email-taken" "E-mail address taken",
        "Another user has this e-mail address.";
    /// The rest of the body is not read.
    too_large: 413 "" "Content Too Large",
        format!("The body must be at most {MAX_BODY_KIB} KiB."), CONNECTION "close";
    unsupported_media_type: 415 "" "Unsupported Media Type",
        "The body must be sent as Content-Type: application/json, without Content-Encoding.", ACCEPT "application/json";
    /// The status is that of the Idempotency-Key draft.
    key_reused: 422 "idempotency-key-reused" "Idempotency-Key reused",
        "This Idempotency-Key belongs to a request with another body.";
    /// It takes the place of hyper's own answer.
    head_too_large: 431 "" "Request Header Fields Too Large",
        format!("The head must have at most {MAX_HEAD_KIB} KiB and {MAX_HEADERS} headers."), CONNECTION "close";
    /// The rate limit adds when there is a request left, and which policy it is about.
    quota_exceeded: 429 (iana "quota-exceeded") "Quota exceeded",
        "There were too many requests. Nothing was done about this one; try again when Retry-After says.", RETRY_AFTER "1";

    /// Nothing was written.
    unavailable: 503 "" "Service Unavailable",
        "The request was not carried out. Try again later.", RETRY_AFTER "1";
    outcome_unknown: 504 "outcome-unknown" "Outcome unknown",
        "The request may or may not have been carried out. Repeating it with the same Idempotency-Key settles it.";
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unimplemented => Self::unavailable().because(error.to_string()),
            CallError::NotExecuted(cause) => Self::unavailable().because(cause),
            CallError::OutcomeUnknown(cause) => Self::outcome_unknown().because(cause),
        }
    }
}

impl Problem {
    /// Says where a body is no JSON, and what is wrong there.
    pub fn malformed_at(what: &str, line: usize, column: usize) -> Self {
        let mut problem = Self::malformed();
        let rule = problem.detail.trim_end_matches('.');
        let detail = format!("{rule}: {what} at line {line}, column {column}.");
        problem.detail = detail.into();
        problem
    }

    /// Lists what is wrong with the body or the query.
    pub fn errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Adds the cause, for those who run the gateway.
    pub fn because(self, cause: impl Into<Box<str>>) -> Self {
        let cause = Some(cause.into());
        Self { cause, ..self }
    }

    /// The response that tells the client.
    pub fn into_response(mut self, request_id: &str) -> Response {
        self.request_id = request_id.into();
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        let mut response = json(status, &self);
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        headers.extend(*self.headers);
        response
    }
}
