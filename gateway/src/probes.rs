//! `/livez` and `/readyz`: what platforms ask to know whether to restart a process, or to send it requests.

use std::future::{Ready, ready as now};

use serde_json::json;
use warp::http::StatusCode;

use crate::{problem::Problem, request_context::RequestContext, response, response::Response};

/// Whether a route is one that platforms ask all the time. No limit may keep it from answering.
pub fn is_probe(template: &str) -> bool {
    ["/livez", "/readyz"].contains(&template)
}

/// `GET /livez`: 200 as long as the process answers at all.
pub fn live(_: RequestContext) -> Ready<Result<Response, Problem>> {
    now(Ok(ok()))
}

/// `GET /readyz`: 200 when the next request can be expected to succeed.
pub async fn ready(request: RequestContext) -> Result<Response, Problem> {
    let unavailable = |cause| Err(Problem::unavailable().because(cause));
    if request.draining {
        return unavailable("this gateway is stopping");
    }
    if !request.users.is_connected() {
        return unavailable("a thread has no link to the users service");
    }
    if !request.users.health().await? {
        return unavailable("the users service is not serving");
    }
    Ok(ok())
}

fn ok() -> Response {
    response::json(StatusCode::OK, &json!({ "status": "ok" }))
}
