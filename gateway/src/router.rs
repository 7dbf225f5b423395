//! The URL map, and the one pipeline that every request passes.

use std::{convert::Infallible, net::Ipv6Addr, panic::AssertUnwindSafe, rc::Rc};

use bytes::Buf;
use futures::{FutureExt as _, Stream, TryStreamExt as _, future::LocalBoxFuture};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use send_wrapper::SendWrapper;
use tokio_util::sync::CancellationToken;
use warp::Filter as _;
use warp::http::uri::{Authority, Uri};
use warp::http::{HeaderMap, Method, StatusCode, Version, header};
use warp::path::FullPath;

use crate::problem::Problem;
use crate::request_context::RequestContext;
use crate::response::{Response, empty, set};
use crate::telemetry::Telemetry;
use crate::upstream::Users;
use crate::{docs, probes, users};

/// Makes the URL map: a row for each route, with its method, its template and its handler.
macro_rules! routes {
    ($($method:ident $template:literal => $handler:path),* $(,)?) => {
        static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                template: $template,
                handler: |request| Box::pin($handler(request)),
            }),*
        ];
    };
}

// THE URL map. Templates are labels of metrics and names of spans too. GET takes HEAD as well; OPTIONS,
// and 405 with its `Allow`, follow from the table.
routes! {
    POST "/users"        => users::create_user,
    GET  "/users/{id}"   => users::get_user,
    GET  "/livez"        => probes::live,
    GET  "/readyz"       => probes::ready,
    GET  "/openapi.json" => docs::document,
    GET  "/docs"         => docs::redirect,
    GET  "/docs/{file}"  => docs::file,
}

/// The template of requests that match no route.
const NO_ROUTE: &str = "other";

struct Route {
    method: Method,
    template: &'static str,
    handler: fn(RequestContext) -> LocalBoxFuture<'static, Result<Response, Problem>>,
}

/// What the requests of one thread are answered with.
pub struct Router {
    pub users: Users,
    pub telemetry: Telemetry,
    pub shutdown: CancellationToken,
}

impl Router {
    /// The router as connections call it.
    pub fn into_service(
        self,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static
    {
        // warp wants to be able to send its parts to another thread; it never does.
        let router = SendWrapper::new(Rc::new(self));
        let filter = warp::method()
            .and(warp::path::full())
            .and(warp::ext::get::<Version>())
            .and(warp::header::headers_cloned())
            .and(warp::body::stream())
            .then(move |method, path, version, headers, body| {
                let router = router.clone().take();
                SendWrapper::new(router.respond(method, path, version, headers, body))
            });
        let warp = TowerToHyperService::new(warp::service(filter));

        service_fn(move |mut request: Request<Incoming>| {
            // warp hands on everything of a request except its version.
            let version = request.version();
            request.extensions_mut().insert(version);
            // warp panics over a target without a path: that of CONNECT.
            if request.uri().path_and_query().is_none() {
                *request.uri_mut() = Uri::from_static("*");
            }
            warp.call(request)
        })
    }

    /// The pipeline: observe, check the host, route, catch panics, finish.
    async fn respond(
        self: Rc<Self>,
        method: Method,
        path: FullPath,
        version: Version,
        headers: HeaderMap,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + 'static,
    ) -> Response {
        let found = check_host(version, &headers).and_then(|()| find(path.as_str()));
        let template = found.as_ref().map_or(NO_ROUTE, |(template, _)| template);
        let active = self.telemetry.begin(template, &method, &headers);

        let body = body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()));
        let handled = async {
            let (template, parameter) = found?;
            let request = RequestContext {
                method,
                parameter: parameter.to_owned(),
                headers,
                body: Box::pin(body),
                draining: self.shutdown.is_cancelled(),
                users: self.users.in_trace(active.trace()),
            };
            handle(template, request).await
        };
        // A panic costs its own request only, and what that had done by then is not known.
        let result = AssertUnwindSafe(handled).catch_unwind().await;
        let panicked = |_| Err(Problem::outcome_unknown().because("a handler panicked"));
        let mut response = active.finish(result.unwrap_or_else(panicked));

        if self.shutdown.is_cancelled() {
            set(response.headers_mut(), header::CONNECTION, "close");
        }
        response
    }
}

/// Refuses a request whose addressee is not clear (RFC 9112, section 3.2): it needs one valid `Host`
/// header, which HTTP/1.0 did not have.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (None, _) if version < Version::HTTP_11 => Ok(()),
        _ => Err(Problem::bad_host()),
    }
}

/// Whether `value` is a host without user, perhaps with a port, or empty (RFC 9110, section 7.2).
fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else {
        return value.is_empty();
    };
    let host = authority.host();
    let is_ipv6 = |rest: &str| rest.trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());

    let Some(rest) = authority.as_str().strip_prefix(host) else {
        return false;
    };
    host.strip_prefix('[').is_none_or(is_ipv6)
        && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// The template that fits `path`, and the part of the path that stands for its parameter.
fn find(path: &str) -> Result<(&'static str, &str), Problem> {
    let fit = |route: &Route| Some((route.template, parameter(route.template, path)?));
    ROUTES.iter().find_map(fit).ok_or_else(Problem::not_found)
}

/// The part of `path` that stands for the template's parameter, if the template fits.
fn parameter<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    match template.split_once('{') {
        None => (path == template).then_some(""),
        // Everything below `/docs/`, and the page itself.
        Some((prefix, "file}")) => path.strip_prefix(prefix),
        // One segment.
        Some((prefix, _)) => {
            let segment = path.strip_prefix(prefix)?;
            (!segment.is_empty() && !segment.contains('/')).then_some(segment)
        }
    }
}

/// Calls the handler of the request's method, or says which methods there are.
async fn handle(template: &'static str, request: RequestContext) -> Result<Response, Problem> {
    let method = match request.method {
        Method::HEAD => &Method::GET,
        ref method => method,
    };
    let routes = ROUTES.iter().filter(|route| route.template == template);
    if let Some(route) = routes.clone().find(|route| route.method == *method) {
        return (route.handler)(request).await;
    }

    let methods = routes.map(|route| match route.method {
        Method::GET => "GET, HEAD",
        ref other => other.as_str(),
    });
    let allow: String = methods.flat_map(|m| [m, ", "]).chain(["OPTIONS"]).collect();
    if *method != Method::OPTIONS {
        let mut problem = Problem::method_not_allowed();
        set(&mut problem.headers, header::ALLOW, allow);
        return Err(problem);
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    set(response.headers_mut(), header::ALLOW, allow);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template_of(path: &str) -> Option<(&'static str, &str)> {
        find(path).ok()
    }

    #[test]
    fn path_has_the_template_that_fits_it() {
        for (path, template, parameter) in [
            ("/users", "/users", ""),
            ("/users/7", "/users/{id}", "7"),
            ("/users/a%2Fb", "/users/{id}", "a%2Fb"),
            ("/livez", "/livez", ""),
            ("/docs", "/docs", ""),
            ("/docs/", "/docs/{file}", ""),
            ("/docs/a/b.css", "/docs/{file}", "a/b.css"),
        ] {
            assert_eq!(template_of(path), Some((template, parameter)), "{path}");
        }
    }

    #[test]
    fn path_that_no_template_fits_is_not_found() {
        for path in [
            "",
            "*",
            "/",
            "/user",
            "//users",
            "/users/",
            "/users//",
            "/users/7/",
            "/users/1/2",
            "/livez/",
            "/livez/x",
            "/%75sers",
        ] {
            assert_eq!(template_of(path), None, "{path}");
        }
    }

    #[test]
    fn host_is_a_name_or_an_address_with_or_without_a_port() {
        let good = " h H.example. h:80 h: :80 127.0.0.1:3000 [::1] [::1]:80 a_b a,b";
        for good in good.split(' ') {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        let bad = "u@h u:p@h h@h h:80@h h/ h?q h#f http://h h:x h:+80 h:1:2 ::1 [::1 [::1]x [::1]80 [x] \
            a\\b a%zz é h\" <h> ^";
        for bad in bad.split(' ').chain(["a b", " ", "h\t"]) {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn documented_paths_are_those_of_the_routes() {
        let document: serde_json::Value = serde_json::from_str(docs::openapi::document()).unwrap();
        let documented: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        let undocumented = ["/openapi.json", "/docs", "/docs/{file}"];
        let mut routes: Vec<&str> = ROUTES.iter().map(|route| route.template).collect();
        routes.retain(|template| !undocumented.contains(template));
        routes.sort_unstable();
        assert_eq!(documented, routes);
    }
}
