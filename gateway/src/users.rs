//! The handlers of `/users`: decode, call the users service, encode.

use users_client::CreateOutcome;
use warp::http::{HeaderName, StatusCode, header};

use crate::body::User;
use crate::field_error::FieldError;
use crate::problem::Problem;
use crate::request_context::RequestContext;
use crate::response::{Response, json, set};
use crate::{body, idempotency};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /users`: 201 with the created user and its `Location`.
pub async fn create_user(request: RequestContext) -> Result<Response, Problem> {
    body::check_media_type(&request.headers)?;
    let id = idempotency::user_id(&request.headers)?;
    let body = body::read(&request.headers, request.body).await?;
    let new = body::decode(&body)?.with_id(id);

    match request.users.create_user(&new).await? {
        CreateOutcome::Stored { user, replayed } => Ok(created(&user.into(), replayed)),
        CreateOutcome::Invalid(errors) => {
            let errors = errors.iter().map(|e| FieldError::new(&e.field, &*e.reason));
            Err(Problem::invalid().errors(errors.collect()))
        }
        CreateOutcome::EmailTaken => Err(Problem::email_taken()),
        CreateOutcome::IdConflict => Err(Problem::key_reused()),
    }
}

/// `GET /users/{id}`: 200 with the user.
pub async fn get_user(request: RequestContext) -> Result<Response, Problem> {
    let id = &request.parameter;
    match request.users.get_user(id).await? {
        Some(user) => Ok(json(StatusCode::OK, &User::from(user))),
        None => Err(Problem::not_found()),
    }
}

fn created(user: &User, replayed: bool) -> Response {
    let mut response = json(StatusCode::CREATED, user);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, format!("/users/{}", user.id));
    if replayed {
        set(headers, IDEMPOTENCY_REPLAYED, "true");
    }
    response
}
