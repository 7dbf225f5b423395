//! The page at /docs to read the interface and try it: Swagger UI, its files within this program.

mod openapi;

use std::sync::{Arc, LazyLock};

use utoipa_swagger_ui::{Config, SwaggerFile};
use warp::http::{HeaderValue, StatusCode, header};

use crate::{problem::Problem, response::Response};

/// The page runs nothing and loads nothing but what this gateway serves.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page itself; the library's own does not fit on phones.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Users</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="stylesheet" href="index.css">
<link rel="stylesheet" href="page.css">
<link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="swagger-ui-standalone-preset.js"></script>
<script src="swagger-initializer.js"></script>
</body>
</html>
"#;

/// The column for links, with one link in it, would make the page wider than a phone.
const STYLE: &str = ".swagger-ui .response-col_links { display: none }\n";

/// `GET /openapi.json`: the document.
pub fn document() -> Response {
    file(openapi::document().into(), "application/json")
}

/// `GET /docs/…`: the files of the page.
pub fn page(path: &str) -> Result<Response, Problem> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
        Arc::new(
            Config::from("/openapi.json")
                .validator_url("none")
                .use_base_layout(),
        )
    });
    match path {
        "" => return Ok(file(PAGE.into(), "text/html; charset=utf-8")),
        "page.css" => return Ok(file(STYLE.into(), "text/css")),
        _ => {}
    }
    match utoipa_swagger_ui::serve(path, CONFIG.clone()) {
        Ok(Some(SwaggerFile {
            bytes,
            content_type,
            ..
        })) => Ok(file(bytes.into(), &content_type)),
        _ => Err(Problem::not_found()),
    }
}

/// `GET /docs`: to the page, whose files lie beside it.
pub fn to_page() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/docs/"));
    response
}

fn file(bytes: Vec<u8>, content_type: &str) -> Response {
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    let policy = HeaderValue::from_static(PAGE_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
