//! The page at /docs to read the interface and try it: Swagger UI, its files within this program.

pub mod openapi;
mod problems;

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use utoipa_swagger_ui::Config;
use warp::http::{StatusCode, header};

use crate::problem::Problem;
use crate::request_context::RequestContext;
use crate::response::{Response, empty, set};

/// The page runs nothing and loads nothing but what this gateway serves.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page itself; the library's own does not fit on phones.
const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("page.css");

/// `GET /openapi.json`: 200 with the OpenAPI document.
pub fn document(
    RequestContext { has_api_keys, .. }: RequestContext,
) -> Ready<Result<Response, Problem>> {
    let document = openapi::document(has_api_keys);
    ready(Ok(content(document, "application/json")))
}

/// `GET /` and `GET /docs`: 308 to the page, whose files lie beside it.
pub fn redirect(_: RequestContext) -> Ready<Result<Response, Problem>> {
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    set(response.headers_mut(), header::LOCATION, "/docs/");
    ready(Ok(response))
}

/// `GET /docs/{file}`: 200 with the page, or with one of its files.
pub fn file(request: RequestContext) -> Ready<Result<Response, Problem>> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
        let config = Config::from("/openapi.json");
        Arc::new(config.validator_url("none").use_base_layout())
    });
    let path = request.parameter;
    ready(match path.as_str() {
        "" => Ok(content(PAGE, "text/html; charset=utf-8")),
        "page.css" => Ok(content(STYLE, "text/css")),
        _ => match utoipa_swagger_ui::serve(&path, CONFIG.clone()) {
            Ok(Some(file)) => {
                // A copy of the script would be 1.5 MB for each client that is slow to take it.
                let bytes = match file.bytes {
                    Cow::Borrowed(embedded) => Bytes::from_static(embedded),
                    Cow::Owned(generated) => generated.into(),
                };
                Ok(content(bytes, &file.content_type))
            }
            _ => Err(Problem::not_found()),
        },
    })
}

fn content(bytes: impl Into<Bytes>, content_type: &str) -> Response {
    let mut response = Response::new(bytes.into().into());
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, content_type);
    set(headers, header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}
