//! Request bodies: read within limits, decoded with every fault of their shape named.

use std::{fmt, time::Duration};

use bytes::{Buf, BytesMut};
use futures::{Stream, StreamExt as _, pin_mut};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::timeout;
use warp::http::{HeaderMap, header};

use crate::{field_error::Fault, problem::Problem};

/// Largest body. A user fits in 2 KiB, escapes included.
const MAX_BYTES: usize = 64 * 1024;
/// How long the body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Faults to list of a body that has nothing but faults.
const MAX_FAULTS: usize = 16;
/// Characters to show of the name of a member that should not be there.
const MAX_NAME_SHOWN: usize = 64;

/// The body of `POST /users`, decoded but not checked against any rule.
#[derive(Debug, PartialEq)]
pub struct UserBody {
    pub email: String,
    pub name: String,
}

/// A stored user, as bodies of responses have it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct User {
    /// A UUID.
    pub id: String,
    /// In the case it was given.
    pub email: String,
    pub name: String,
}

impl From<users_client::User> for User {
    fn from(users_client::User { id, email, name }: users_client::User) -> Self {
        Self { id, email, name }
    }
}

/// Refuses bodies that do not say they are plain JSON (RFC 9110, sections 8.3 and 8.4).
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = match (types.next().map(|value| value.to_str()), types.next()) {
        (Some(Ok(value)), None) => {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/json")
        }
        _ => false,
    };
    if is_json && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    Err(Problem::unsupported_media_type())
}

/// Reads a body of at most 64 KiB within 10 seconds.
pub async fn read(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<BytesMut, Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|n| n.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > MAX_BYTES) {
        return Err(Problem::too_large());
    }
    pin_mut!(body);
    // Growing would take up to twice as much, and many may send large ones slowly.
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default());
    let read = async {
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| Problem::malformed("The body broke off."))?;
            if bytes.len() + chunk.remaining() > MAX_BYTES {
                return Err(Problem::too_large());
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                let length = part.len();
                bytes.extend_from_slice(part);
                chunk.advance(length);
            }
        }
        Ok(())
    };
    timeout(READ_TIMEOUT, read)
        .await
        .map_err(|_| Problem::body_timeout())??;
    Ok(bytes)
}

/// Decodes the body of `POST /users`: a JSON object with the strings `email` and `name`, each once,
/// and nothing else.
pub fn decode(bytes: &[u8]) -> Result<UserBody, Problem> {
    let members: Members = serde_json::from_slice(bytes).map_err(|error| {
        Problem::malformed(if error.is_data() {
            "The body must be a JSON object with the members email and name."
        } else {
            "The body must be JSON (RFC 8259) in UTF-8."
        })
    })?;
    match members {
        Members {
            email: Some(email),
            name: Some(name),
            faults,
        } if faults.is_empty() => Ok(UserBody { email, name }),
        Members { faults, .. } => Err(Problem::invalid(faults)),
    }
}

/// The members of the object and all their faults; a derived decoder would stop at the first.
#[derive(Default)]
struct Members {
    email: Option<String>,
    name: Option<String>,
    faults: Vec<Fault>,
}

impl Members {
    fn add(&mut self, name: &str, value: &RawValue) {
        let slot = match name {
            "email" => &mut self.email,
            "name" => &mut self.name,
            _ => return self.fault(name, "is not a member of a user; those are email and name"),
        };
        if slot.is_some() {
            return self.fault(name, "must be given once");
        }
        let text = serde_json::from_str(value.get());
        let is_string = text.is_ok();
        *slot = Some(text.unwrap_or_default());
        if !is_string {
            self.fault(name, "must be a string");
        }
    }

    fn fault(&mut self, name: &str, detail: &str) {
        if self.faults.len() < MAX_FAULTS {
            let name: String = name.chars().take(MAX_NAME_SHOWN).collect();
            self.faults.push(Fault::of(&name, detail));
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.add(&name, value);
                }
                for (name, value) in [("email", &members.email), ("name", &members.name)] {
                    if value.is_none() {
                        members.faults.push(Fault::of(name, "is required"));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> Vec<(String, String)> {
        let problem = decode(body.as_bytes()).unwrap_err();
        problem
            .errors()
            .iter()
            .map(|f| (f.pointer.clone(), f.detail.clone()))
            .collect()
    }

    #[test]
    fn an_object_with_both_strings_is_decoded_as_it_stands() {
        let body = decode(br#" {"name":"J\u00e9 \ud83d\ude00", "email":" a@b.c "} "#).unwrap();
        assert_eq!(
            body,
            UserBody {
                email: " a@b.c ".into(),
                name: "Jé 😀".into()
            }
        );
    }

    #[test]
    fn every_fault_of_the_shape_is_named() {
        let body = r#"{"email":5,"email":"a@b.c","na/m~e":{"x":[1,{}]},"name":null}"#;
        let expected = [
            ("#/email", "must be a string"),
            ("#/email", "must be given once"),
            (
                "#/na~1m~0e",
                "is not a member of a user; those are email and name",
            ),
            ("#/name", "must be a string"),
        ];
        assert_eq!(
            faults(body),
            expected.map(|(p, d)| (p.to_owned(), d.to_owned()))
        );
        assert_eq!(
            faults("{}"),
            ["#/email", "#/name"].map(|p| (p.to_owned(), "is required".to_owned()))
        );
    }

    #[test]
    fn what_is_not_a_json_object_is_malformed() {
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
            assert_eq!(faults(body), [], "{body}");
        }
        assert!(decode(b"{\"email\":\"\xff\",\"name\":\"n\"}").is_err());
        assert!(decode("[".repeat(60_000).as_bytes()).is_err());
    }

    #[test]
    fn a_body_of_nothing_but_faults_is_answered_with_some_of_them() {
        let body = format!("{{{}}}", vec![r#""x":1"#; 1000].join(","));
        assert_eq!(faults(&body).len(), MAX_FAULTS + 2);
    }
}
