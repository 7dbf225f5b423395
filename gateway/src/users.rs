//! The handlers of `/users`: decode, call the users service, encode.

use bytes::Buf;
use futures::Stream;
use users_client::{CreateOutcome, NewUser};
use warp::http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    body,
    field_error::Fault,
    idempotency,
    problem::Problem,
    request_context::RequestContext,
    response::{Response, json},
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /users`: 201 with the created user and its `Location`.
pub async fn create_user(
    call: RequestContext<'_>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Problem> {
    body::check_media_type(call.headers)?;
    let id = idempotency::user_id(call.headers)?;
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
pub async fn get_user(call: RequestContext<'_>, id: &str) -> Result<Response, Problem> {
    match call.users.get_user(id, call.trace).await? {
        Some(user) => Ok(json(StatusCode::OK, &body::User::from(user))),
        None => Err(Problem::not_found()),
    }
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
