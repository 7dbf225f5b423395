//! JSON bodies: the users in them, read within limits and decoded with every error of their shape named.

use std::fmt;

use bytes::BytesMut;
use futures::StreamExt as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;
use warp::http::{HeaderMap, HeaderValue, header};

use crate::field_error::{FieldError, MAX_ERRORS};
use crate::limits::{BODY_TIMEOUT, MAX_BODY_KIB};
use crate::problem::Problem;
use crate::request_context::Body;

/// The members of a user to create.
const MEMBERS: [&str; 2] = ["email", "name"];

/// The body of `POST /users`, decoded but not checked against any rule.
///
/// Its schema says what the users service accepts (`users-svc/src/user.rs`), as far as a schema can. What
/// stands in braces in a pattern is explained in `docs/openapi.rs`.
#[derive(Debug, PartialEq, ToSchema)]
#[schema(description = "A user to create.")]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// An e-mail address in ASCII with a dotted domain. Space around it is dropped. Unique without regard to case.
    #[schema(
        format = "email",
        min_length = 1,
        max_length = 254,
        examples("jane@example.com")
    )]
    #[schema(
        pattern = "^[{SPACE}]*(?=[^@]{1,64}@){ATOM}(\\.{ATOM})*@{LABEL}(\\.{LABEL})+[{SPACE}]*$"
    )]
    pub email: String,
    /// Space around it is dropped. No control or bidi override characters.
    #[schema(min_length = 1, max_length = 200, examples("Jane Doe"))]
    #[schema(
        pattern = "^[{SPACE}]*[^{SPACE}{CONTROL}]([^{CONTROL}]*[^{SPACE}{CONTROL}])?[{SPACE}]*$"
    )]
    pub name: String,
}

impl NewUser {
    /// The user as the client asks the service for it.
    pub fn with_id(self, id: Uuid) -> users_client::NewUser {
        let Self { email, name } = self;
        users_client::NewUser { id, email, name }
    }
}

/// A stored user, as bodies of responses have it.
#[derive(Debug, serde::Serialize, ToSchema)]
pub struct User {
    /// A UUID.
    #[schema(format = "uuid", examples("0190a3f4-7c3e-7cc8-a1b2-0242ac120002"))]
    pub id: String,
    /// In the case it was given.
    #[schema(format = "email", examples("jane@example.com"))]
    pub email: String,
    #[schema(examples("Jane Doe"))]
    pub name: String,
}

/// Users, as the answer to a search or a page of all of them.
#[derive(Debug, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserList {
    pub users: Vec<User>,
    /// The `pageToken` of the next page. Left out when there are no more users.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

impl UserList {
    /// A list with the token of what comes after it; empty: nothing does.
    pub fn new(users: Vec<users_client::User>, next_page_token: String) -> Self {
        Self {
            users: users.into_iter().map(User::from).collect(),
            next_page_token: Some(next_page_token).filter(|token| !token.is_empty()),
        }
    }
}

impl From<users_client::User> for User {
    fn from(users_client::User { id, email, name }: users_client::User) -> Self {
        Self { id, email, name }
    }
}

/// Refuses bodies that do not say they are plain JSON (RFC 9110, sections 8.3 and 8.4).
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = |value: &HeaderValue| {
        let essence = value.to_str().ok()?.split(';').next()?;
        Some(essence.trim().eq_ignore_ascii_case("application/json"))
    };
    let only_json = types.next().and_then(is_json) == Some(true) && types.next().is_none();
    if only_json && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    Err(Problem::unsupported_media_type())
}

/// Reads a body, within the limits of its size and its time.
pub async fn read(headers: &HeaderMap, mut body: Body) -> Result<BytesMut, Problem> {
    const MAX_BYTES: usize = MAX_BODY_KIB * 1024;
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or_default();
    if announced > MAX_BYTES {
        return Err(Problem::too_large());
    }

    // A buffer that grows takes up to twice as much, and many clients may send large bodies slowly.
    let mut bytes = BytesMut::with_capacity(announced);
    let read = async {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Problem::body_broke_off())?;
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(Problem::too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    let read = timeout(BODY_TIMEOUT, read).await;
    read.map_err(|_| Problem::body_timeout())??;
    Ok(bytes)
}

/// Decodes the body of `POST /users`: a JSON object with the strings `email` and `name`, each once, and
/// nothing else. Returns the errors of its shape with it; what is missing or no string is empty.
pub fn decode(bytes: &[u8]) -> Result<(NewUser, Vec<FieldError>), Problem> {
    let refuse = |error: serde_json::Error| match error.classify() {
        Category::Data => Problem::not_an_object(),
        _ => malformed(bytes, &error),
    };
    let mut members: Members = serde_json::from_slice(bytes).map_err(refuse)?;

    for (name, value) in MEMBERS.iter().zip(&members.values) {
        if value.is_none() {
            members
                .errors
                .push(FieldError::of_member(name, "is required"));
        }
    }
    let [email, name] = members.values.map(Option::unwrap_or_default);
    Ok((NewUser { email, name }, members.errors))
}

/// Says where a body is no JSON, in lines and characters from 1, and what was expected there. Nothing of the body
/// itself: it may be a secret, and sent to the wrong place.
fn malformed(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = lines.nth(error.line() - 1).unwrap_or_default();
    // serde_json counts bytes.
    let before = line.get(..error.column()).unwrap_or(line);
    let column = String::from_utf8_lossy(before).chars().count().max(1);

    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    Problem::malformed_at(what, error.line(), column)
}

/// The members of a body and all errors of their shape; a derived decoder would stop at the first.
#[derive(Default)]
struct Members {
    values: [Option<String>; MEMBERS.len()],
    errors: Vec<FieldError>,
}

impl Members {
    fn add(&mut self, name: &str, value: &RawValue) {
        let Some(index) = MEMBERS.iter().position(|member| *member == name) else {
            return self.error(name, "is not a member of a user; those are email and name");
        };
        if self.values[index].is_some() {
            return self.error(name, "must be given once");
        }
        let text = serde_json::from_str(value.get()).unwrap_or_else(|_| {
            // An escape may stand for half a character, which no string of ours can hold.
            let detail = if value.get().starts_with('"') {
                "must have no half of a surrogate pair"
            } else {
                "must be a string"
            };
            self.error(name, detail);
            String::new()
        });
        self.values[index] = Some(text);
    }

    fn error(&mut self, name: &str, detail: &str) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError::of_member(name, detail));
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            self.add(&name, value);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pointers and details of the errors that decoding `body` finds.
    fn errors_of(body: &str) -> Vec<(String, String)> {
        let (_, errors) = decode(body.as_bytes()).unwrap();
        let errors = errors.into_iter();
        errors
            .map(|error| (error.pointer.unwrap(), error.detail))
            .collect()
    }

    fn expected<const N: usize>(errors: [(&str, &str); N]) -> [(String, String); N] {
        errors.map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned()))
    }

    #[test]
    fn object_with_both_strings_is_decoded_as_it_stands() {
        let body = br#" {"name":"J\u00e9 \ud83d\ude00", "email":" a@b.c "} "#;
        let expected = NewUser {
            email: " a@b.c ".into(),
            name: "Jé 😀".into(),
        };
        assert_eq!(decode(body).unwrap(), (expected, Vec::new()));
    }

    #[test]
    fn every_error_of_the_shape_is_named() {
        let body = r#"{"email":5,"email":"a@b.c","na/m~ ä%":{"x":[1,{}]},"name":null}"#;
        let not_a_member = "is not a member of a user; those are email and name";
        let errors = [
            ("#/email", "must be a string"),
            ("#/email", "must be given once"),
            ("#/na~1m~0%20%C3%A4%25", not_a_member),
            ("#/name", "must be a string"),
        ];
        assert_eq!(errors_of(body), expected(errors));
    }

    #[test]
    fn string_with_half_a_character_is_named() {
        let half = "must have no half of a surrogate pair";
        let errors = [("#/email", half), ("#/name", "must be a string")];
        assert_eq!(
            errors_of(r#"{"email":"a\ud83d","name":1e999}"#),
            expected(errors)
        );
    }

    #[test]
    fn missing_members_are_named() {
        let errors = [("#/email", "is required"), ("#/name", "is required")];
        assert_eq!(errors_of("{}"), expected(errors));
    }

    #[test]
    fn body_that_is_no_json_object_is_malformed() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{}{}",
            "{\"email\":}",
            "\u{feff}{}",
        ] {
            assert!(decode(body.as_bytes()).is_err(), "{body}");
        }
        assert!(decode(b"{\"email\":\"\xff\",\"name\":\"n\"}").is_err());
        assert!(decode("[".repeat(60_000).as_bytes()).is_err());
    }

    #[test]
    fn malformed_body_is_told_where_and_nothing_of_it_is_shown() {
        let secret = "Zq7";
        for (body, place) in [
            ("", "EOF while parsing a value at line 1, column 1."),
            ("{\"Zq7\":}", "expected value at line 1, column 8."),
            ("{\"Zq7\":\"Zq7\",}", "trailing comma at line 1, column 14."),
            (
                "{\"a\":\"Zq7",
                "EOF while parsing a string at line 1, column 9.",
            ),
            ("{\n \"Zq7\": Zq7\n}", "expected value at line 2, column 9."),
            ("{\"ünö\":Zq7}", "expected value at line 1, column 8."),
            ("{\n}\nZq7", "trailing characters at line 3, column 1."),
            ("{\"a\":\"\\x Zq7\"}", "invalid escape at line 1, column 8."),
        ] {
            let problem = decode(body.as_bytes()).unwrap_err();
            let expected = format!("The body must be JSON (RFC 8259) in UTF-8: {place}");
            assert_eq!(*problem.detail, *expected, "{body}");
            assert!(!problem.detail.contains(secret), "{body}");
        }
    }

    #[test]
    fn body_of_nothing_but_errors_is_answered_with_some_of_them() {
        let body = format!("{{{}}}", vec![r#""x":1"#; 1000].join(","));
        assert_eq!(errors_of(&body).len(), MAX_ERRORS + 2);
    }
}
