//! Problem documents: every error of the gateway as RFC 9457 `application/problem+json`.

use serde::Serialize;
use users_client::CallError;
use utoipa::ToSchema;
use warp::http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    field_error::Fault,
    response::{Response, json},
};

/// Prefix of the problem types that are ours. The others are `about:blank`: the status says it all.
const TYPE_PREFIX: &str = "urn:problem-type:users:";

/// An error as the client gets to see it.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    /// The stable last part of `type`, for problems that HTTP has no status of their own for.
    kind: Option<&'static str>,
    title: &'static str,
    detail: &'static str,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log, not for the client.
    cause: Option<Box<str>>,
}

/// An error of this interface (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Document<'a> {
    /// What kind of problem it is, for programs; `about:blank`: the status says it all.
    r#type: String,
    /// The same for people.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What was wrong, or what would be right.
    detail: &'a str,
    /// Everything that is wrong with the body.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
    /// The request's id, as in the header `X-Request-Id`.
    #[serde(rename = "requestId")]
    request_id: &'a str,
}

impl Problem {
    const fn new(
        status: StatusCode,
        kind: Option<&'static str>,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail,
            errors: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// Adds why, for those who run the gateway.
    pub fn because(self, cause: impl Into<Box<str>>) -> Self {
        let cause = Some(cause.into());
        Self { cause, ..self }
    }

    /// Why, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// 400: the body is not a JSON object.
    pub fn malformed(detail: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Some("malformed"),
            "Malformed request",
            detail,
        )
    }

    /// 400: not exactly one `Host`. The connection closes.
    pub fn ambiguous_host() -> Self {
        Self::malformed("The request must have one Host header.").with(header::CONNECTION, "close")
    }

    /// 400: values that break rules, all of them listed.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = "The body breaks the rules listed in errors.";
        let problem = Self::new(
            StatusCode::BAD_REQUEST,
            Some("invalid"),
            "Invalid request",
            detail,
        );
        Self { errors, ..problem }
    }

    /// 400: `Idempotency-Key` is not what its draft and we ask for.
    pub fn bad_idempotency_key() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Some("bad-idempotency-key"),
            "Bad Idempotency-Key",
            "Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters.",
        )
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            None,
            "Not Found",
            "There is nothing at this path.",
        )
    }

    /// 405, with the methods that are allowed.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail =
            "This resource does not take this method; the Allow header lists those it does.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            None,
            "Method Not Allowed",
            detail,
        )
        .with(header::ALLOW, allow)
    }

    /// 408: the body came too slowly. The connection closes.
    pub fn body_timeout() -> Self {
        let detail = "The body did not arrive within 10 seconds.";
        Self::new(StatusCode::REQUEST_TIMEOUT, None, "Request Timeout", detail)
            .with(header::CONNECTION, "close")
    }

    /// 409.
    pub fn email_taken() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            Some("email-taken"),
            "E-mail address taken",
            "Another user has this e-mail address.",
        )
    }

    /// 413. The connection closes, as the rest of the body is not read.
    pub fn too_large() -> Self {
        let detail = "The body must be at most 64 KiB.";
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            None,
            "Content Too Large",
            detail,
        )
        .with(header::CONNECTION, "close")
    }

    /// 415.
    pub fn unsupported_media_type() -> Self {
        let detail =
            "The body must be sent as Content-Type: application/json, without Content-Encoding.";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            "Unsupported Media Type",
            detail,
        )
        .with(header::ACCEPT, "application/json")
    }

    /// 422, as the Idempotency-Key draft has it.
    pub fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Some("idempotency-key-reused"),
            "Idempotency-Key reused",
            "This Idempotency-Key belongs to a request with another body.",
        )
    }

    /// 503: nothing was written.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            None,
            "Service Unavailable",
            "The request was not carried out. Try again later.",
        )
        .with(header::RETRY_AFTER, "1")
    }

    /// 504: the outcome is not known.
    pub fn unknown_outcome() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            Some("outcome-unknown"),
            "Outcome unknown",
            "The request may or may not have been carried out. Repeating it with the same \
             Idempotency-Key settles it.",
        )
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The faults it lists.
    #[cfg(test)]
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The headers that belong to it.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// What the client gets to read.
    pub fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        Document {
            r#type: self
                .kind
                .map_or("about:blank".into(), |kind| format!("{TYPE_PREFIX}{kind}")),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            errors: &self.errors,
            request_id,
        }
    }

    /// The response that tells the client.
    pub fn into_response(self, request_id: &str) -> Response {
        let mut response = json(self.status, &self.document(request_id));
        let problem_json = HeaderValue::from_static("application/problem+json");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, problem_json);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unimplemented => Self::unavailable().because(error.to_string()),
            CallError::NotExecuted(cause) => Self::unavailable().because(cause),
            CallError::OutcomeUnknown(cause) => Self::unknown_outcome().because(cause),
        }
    }
}
