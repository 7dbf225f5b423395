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

/// `GET /readyz`: 200 when requests should be sent to this gateway.
pub fn ready(request: RequestContext) -> Ready<Result<Response, Problem>> {
    let RequestContext { readiness, .. } = request;
    now(match readiness.check() {
        Ok(()) => Ok(ok()),
        Err(why) => Err(Problem::unavailable().because(why)),
    })
}

fn ok() -> Response {
    response::json(StatusCode::OK, &json!({ "status": "ok" }))
}
