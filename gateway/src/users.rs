//! The handlers of `/users`: decode, call the users service, encode.

use percent_encoding::percent_decode_str;
use users_client::{CreateOutcome, ListOutcome};
use uuid::Uuid;
use warp::http::{HeaderName, StatusCode, header};

use crate::body::{NewUser, User, UserList};
use crate::field_error::FieldError;
use crate::problem::Problem;
use crate::request_context::RequestContext;
use crate::response::{Response, json, set};
use crate::upstream::Users;
use crate::users_query::UsersQuery;
use crate::{body, idempotency, users_query};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /users`: 201 with the created user and its `Location`.
pub async fn create_user(request: RequestContext) -> Result<Response, Problem> {
    body::check_media_type(&request.headers)?;
    let id = idempotency::user_id(&request.headers, request.principal.as_deref())?;
    let body = body::read(&request.headers, request.body).await?;
    let (new, shape_errors) = body::decode(&body)?;
    if !shape_errors.is_empty() {
        let errors = with_broken_rules(shape_errors, new, &request.users).await;
        return Err(Problem::invalid().errors(errors));
    }

    match request.users.create_user(&new.with_id(id)).await? {
        CreateOutcome::Stored { user, replayed } => Ok(created(&user.into(), replayed)),
        CreateOutcome::Invalid(errors) => {
            let errors = errors.into_iter().map(FieldError::from);
            Err(Problem::invalid().errors(errors.collect()))
        }
        CreateOutcome::EmailTaken => Err(Problem::email_taken()),
        CreateOutcome::IdConflict => Err(Problem::key_reused()),
    }
}

/// `GET /users`: 200 with the user who has an e-mail address, or with a page of all users.
pub async fn list_users(request: RequestContext) -> Result<Response, Problem> {
    let invalid = |errors| Problem::invalid_query().errors(errors);
    let list = match users_query::parse(&request.query).map_err(invalid)? {
        UsersQuery::ByEmail(email) => {
            let found = request.users.find_user(&email).await?;
            UserList::new(found.into_iter().collect(), String::new())
        }
        UsersQuery::Page { size, token } => match request.users.list_users(size, &token).await? {
            ListOutcome::Page {
                users,
                next_page_token,
            } => UserList::new(users, next_page_token),
            ListOutcome::Invalid(errors) => {
                let error =
                    |e: users_client::FieldError| FieldError::of_parameter(&e.field, e.reason);
                return Err(invalid(errors.into_iter().map(error).collect()));
            }
        },
    };
    Ok(json(StatusCode::OK, &list))
}

/// `GET /users/{id}`: 200 with the user.
pub async fn get_user(request: RequestContext) -> Result<Response, Problem> {
    let id = percent_decode_str(&request.parameter).decode_utf8();
    let id = id.map_err(|_| Problem::user_not_found())?;
    match request.users.get_user(&id).await? {
        Some(user) => Ok(json(StatusCode::OK, &User::from(user))),
        None => Err(Problem::user_not_found()),
    }
}

/// Adds the rules that the members without an error of their shape break. The rules are the users
/// service's, so it is asked to create the user with the nil UUID, which it refuses as an id whatever else
/// it finds. Without its answer the errors stay as they are.
async fn with_broken_rules(
    mut errors: Vec<FieldError>,
    new: NewUser,
    users: &Users,
) -> Vec<FieldError> {
    let outcome = users.create_user(&new.with_id(Uuid::nil())).await;
    let Ok(CreateOutcome::Invalid(broken)) = outcome else {
        return errors;
    };
    let rules = broken.into_iter().filter(|rule| rule.field != "id");
    let is_new = |rule: &FieldError| errors.iter().all(|error| error.pointer != rule.pointer);
    let new: Vec<_> = rules.map(FieldError::from).filter(is_new).collect();
    errors.extend(new);
    errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    errors
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
