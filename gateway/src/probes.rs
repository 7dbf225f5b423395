//! `/livez` and `/readyz`: what platforms ask to know whether to restart a process, or to send it requests.

use warp::http::StatusCode;

use crate::{
    problem::Problem,
    request_context::RequestContext,
    response::{Response, json},
};

/// `GET /readyz`: 200 when the next request can be expected to succeed.
pub async fn ready(call: RequestContext<'_>) -> Result<Response, Problem> {
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
