//! What each route does: decode, call the users service, encode.

use bytes::Buf;
use futures::Stream;
use users_client::{CallError, CreateOutcome, NewUser};
use uuid::{Uuid, uuid};
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    body,
    problem::{Fault, Problem},
    server::{Call, Response, json},
};

/// Turns an `Idempotency-Key` into the id of the user it creates (UUIDv5, RFC 9562 section 5.5).
/// Never change it: keys in use would forget their users.
const KEY_NAMESPACE: Uuid = uuid!("6c1c4a5e-6f0b-4f0e-9f6b-3b1f3c5f1d0a");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /users`: 201 with the created user and its `Location`.
pub async fn create_user(
    call: Call<'_>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Problem> {
    body::check_media_type(call.headers)?;
    let id = user_id(call.headers)?;
    let body::UserBody { email, name } = body::decode(&body::read(call.headers, body).await?)?;
    let new = NewUser { id, email, name };
    match call.users.create_user(&new, call.trace).await? {
        CreateOutcome::Stored { user, replayed } => Ok(created(&user.into(), replayed)),
        CreateOutcome::Invalid(errors) => Err(Problem::invalid(
            errors
                .iter()
                .map(|e| Fault::of(&e.field, &*e.reason))
                .collect(),
        )),
        CreateOutcome::EmailTaken => Err(Problem::email_taken()),
        CreateOutcome::IdConflict => Err(Problem::key_reused()),
    }
}

/// `GET /users/{id}`: 200 with the user.
pub async fn get_user(call: Call<'_>, id: &str) -> Result<Response, Problem> {
    match call.users.get_user(id, call.trace).await? {
        Some(user) => Ok(json(StatusCode::OK, &body::User::from(user))),
        None => Err(Problem::not_found()),
    }
}

/// `GET /readyz`: 200 when the next request can be expected to succeed.
pub async fn ready(call: Call<'_>) -> Result<Response, Problem> {
    if call.draining {
        return Err(Problem::unavailable().because("this gateway is stopping"));
    }
    if !call.users.is_connected() {
        return Err(Problem::unavailable().because("a thread has no link to the users service"));
    }
    if !call.users.health(call.trace).await? {
        return Err(Problem::unavailable().because("the users service is not serving"));
    }
    Ok(alive())
}

/// `GET /livez`: 200 as long as the process answers at all.
pub fn alive() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

fn created(user: &body::User, replayed: bool) -> Response {
    let mut response = json(StatusCode::CREATED, user);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("/users/{}", user.id)) {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The id to create with: the same for the same `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header), a fresh one without.
fn user_id(headers: &HeaderMap) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next().map(HeaderValue::as_bytes), keys.next()) {
        (None, _) => Ok(Uuid::now_v7()),
        (Some(key), None)
            if (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) =>
        {
            Ok(Uuid::new_v5(&KEY_NAMESPACE, key))
        }
        _ => Err(Problem::bad_idempotency_key()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_keys(keys: &[&str]) -> Result<Uuid, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
        }
        user_id(&headers)
    }

    #[test]
    fn a_key_always_means_the_same_id() {
        let id = with_keys(&["order-17"]).unwrap();
        assert_eq!(id.to_string(), "c7a92e7f-7564-5959-91bf-82658f8cf7f4");
        assert_ne!(id, with_keys(&["order-18"]).unwrap());
    }

    #[test]
    fn without_a_key_every_id_is_fresh() {
        assert_ne!(with_keys(&[]).unwrap(), with_keys(&[]).unwrap());
    }

    #[test]
    fn keys_outside_the_limits_are_refused() {
        assert!(with_keys(&[&"k".repeat(255)]).is_ok());
        let long = "k".repeat(256);
        for keys in [&[""][..], &[&long], &["a b"], &["ключ"], &["a", "a"]] {
            assert!(with_keys(keys).is_err(), "{keys:?}");
        }
    }
}
