//! The URL map, and the one pipeline that every request passes.

use std::{convert::Infallible, panic::AssertUnwindSafe, rc::Rc, sync::Arc};

use bytes::Buf;
use futures::{FutureExt as _, Stream, TryStreamExt as _, future::LocalBoxFuture};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use send_wrapper::SendWrapper;
use service_runtime::health::Readiness;
use tokio_util::sync::CancellationToken;
use warp::Filter as _;
use warp::http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::auth::Access::{self, KeyOnly, Open, Scoped};
use crate::auth::Auth;
use crate::auth::principal::Principal;
use crate::auth::principal::Scope::{Create, Read};
use crate::client_address::TrustedProxies;
use crate::cors::{Origins, cors};
use crate::host::check_host;
use crate::problem::Problem;
use crate::rate_limit::{Allowance, Client, RateLimiter};
use crate::request_context::RequestContext;
use crate::response::{Response, empty, set};
use crate::security_headers::set_security_headers;
use crate::server::Arrival;
use crate::telemetry::{NO_ROUTE, Telemetry};
use crate::upstream::Users;
use crate::{docs, probes, users};

/// Makes the URL map: a row for each route, with its method, its template, who may use it, and its handler.
macro_rules! routes {
    ($($method:ident $template:literal $access:expr => $handler:path),* $(,)?) => {
        static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                template: $template,
                access: $access,
                handler: |request| Box::pin($handler(request)),
            }),*
        ];
    };
}

// THE URL map. Templates are labels of metrics and in the names of spans too. GET takes HEAD as well; OPTIONS,
// and 405 with its `Allow`, follow from the table.
routes! {
    POST "/users"        Scoped(Create) => users::create_user,
    GET  "/users"        KeyOnly(Read)  => users::list_users,
    GET  "/users/{id}"   Scoped(Read)   => users::get_user,
    GET  "/"             Open           => docs::redirect,
    GET  "/livez"        Open           => probes::live,
    GET  "/readyz"       Open           => probes::ready,
    GET  "/openapi.json" Open           => docs::document,
    GET  "/docs"         Open           => docs::redirect,
    GET  "/docs/{file}"  Open           => docs::file,
}

struct Route {
    method: Method,
    template: &'static str,
    access: Access,
    handler: fn(RequestContext) -> LocalBoxFuture<'static, Result<Response, Problem>>,
}

/// The head of a request.
struct Head {
    method: Method,
    target: Uri,
    arrival: Arrival,
    headers: HeaderMap,
}

/// What the requests of one thread are answered with.
pub struct Router {
    pub users: Users,
    pub auth: Auth,
    /// `None`: no client is limited.
    pub rate_limiter: Option<Arc<RateLimiter>>,
    pub trusted_proxies: TrustedProxies,
    /// `None`: none but the gateway's own.
    pub cors_origins: Option<Origins>,
    /// Whether all requests come over TLS.
    pub over_tls: bool,
    pub telemetry: Telemetry,
    pub readiness: Readiness,
    pub shutdown: CancellationToken,
}

impl Router {
    /// The router as connections call it.
    pub fn into_service(
        self,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static
    {
        let methods = ROUTES.iter().map(|route| route.method.clone());
        let origins = self.cors_origins.as_ref();
        let cors = origins.map(|origins| cors(origins, methods.chain([Method::HEAD])));
        // warp wants to be able to send its parts to another thread; it never does.
        let router = SendWrapper::new(Rc::new(self));
        let filter = warp::method()
            .and(warp::ext::get::<Uri>())
            .and(warp::ext::get::<Arrival>())
            .and(warp::header::headers_cloned())
            .map(|method, target, arrival, headers| Head {
                method,
                target,
                arrival,
                headers,
            })
            .and(warp::body::stream())
            .then(move |head, body| {
                let router = router.clone().take();
                SendWrapper::new(router.respond(head, body))
            });
        let warp = TowerToHyperService::new(warp::service(filter));

        service_fn(move |mut request: Request<Incoming>| {
            let cors = cors.as_ref();
            let headers = cors.map(|headers| headers(request.method(), request.headers()));
            // warp panics over a target without a path: that of CONNECT.
            if request.uri().path_and_query().is_none() {
                *request.uri_mut() = Uri::from_static("*");
            }
            // warp hands on its parts only.
            let target = request.uri().clone();
            request.extensions_mut().insert(target);
            let answer = warp.call(request);
            async move {
                let mut response = answer.await?;
                response.headers_mut().extend(headers.unwrap_or_default());
                Ok(response)
            }
        })
    }

    /// The pipeline: observe, authenticate, take from the quota, check the host, limit, route, catch panics,
    /// finish.
    async fn respond(
        self: Rc<Self>,
        head: Head,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + 'static,
    ) -> Response {
        let found = find(head.target.path());
        let template = found.as_ref().map_or(NO_ROUTE, |(template, _)| template);
        let mut active = self.telemetry.begin(template, &head.method, &head.headers);

        let caller = self.auth.authenticate(&head.headers);
        active.principal = caller.as_ref().ok().cloned().flatten();
        let allowance = self.take_from_quota(template, active.principal.as_deref(), &head);

        let body = body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()));
        let handled = async {
            check_host(head.arrival.version, &head.headers)?;
            if let Some(allowance) = &allowance {
                allowance.admit()?;
            }
            let (template, parameter) = found?;
            let Some(route) = self.route(template, &head.method) else {
                return self.no_route(template, &head.method);
            };
            let request = RequestContext {
                principal: route.access.admit(caller)?,
                parameter: parameter.to_owned(),
                query: head.target.query().unwrap_or_default().to_owned(),
                headers: head.headers,
                body: Box::pin(body),
                has_api_keys: self.auth.has_keys(),
                readiness: self.readiness.clone(),
                users: self.users.in_trace(active.trace()),
            };
            (route.handler)(request).await
        };
        // A panic costs its own request only, and what that had done by then is not known.
        let result = AssertUnwindSafe(handled).catch_unwind().await;
        let panicked = |_| Err(Problem::outcome_unknown().because("a handler panicked"));
        let mut response = active.finish(result.unwrap_or_else(panicked));

        let headers = response.headers_mut();
        set_security_headers(headers, self.over_tls);
        if let Some(allowance) = allowance {
            allowance.describe(headers);
        }
        if self.shutdown.is_cancelled() {
            set(headers, header::CONNECTION, "close");
        }
        response
    }

    /// Takes a request from its client's quota. `None` without a rate limit, and for probes. A request
    /// whose key is not valid is taken from the quota of its address.
    fn take_from_quota(
        &self,
        template: &'static str,
        principal: Option<&Principal>,
        head: &Head,
    ) -> Option<Allowance> {
        let limiter = self.rate_limiter.as_ref()?;
        if probes::is_probe(template) {
            return None;
        }
        let address = || {
            self.trusted_proxies
                .client(head.arrival.peer, &head.headers)
        };
        Some(limiter.take(match principal {
            Some(principal) => Client::Principal(principal.name.as_str()),
            None => Client::Address(address()),
        }))
    }

    /// The routes with this template.
    fn routes(&self, template: &'static str) -> impl Iterator<Item = &'static Route> {
        let is_meant = move |route: &&Route| route.template == template;
        let routes = ROUTES.iter().filter(is_meant);
        routes.filter(|route| self.auth.offers(route.access))
    }

    fn route(&self, template: &'static str, method: &Method) -> Option<&'static Route> {
        let method = match *method {
            Method::HEAD => &Method::GET,
            ref method => method,
        };
        self.routes(template).find(|route| route.method == *method)
    }

    /// Says which methods there are, because none of them was asked for.
    fn no_route(&self, template: &'static str, method: &Method) -> Result<Response, Problem> {
        let methods = self.routes(template).map(|route| match route.method {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn template_of(path: &str) -> Option<(&'static str, &str)> {
        find(path).ok()
    }

    #[test]
    fn path_has_the_template_that_fits_it() {
        for (path, template, parameter) in [
            ("/", "/", ""),
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

    /// The operations that the document describes, as `GET /users/{id}`, with the scopes they need.
    fn documented(has_api_keys: bool) -> BTreeMap<String, Value> {
        let document: Value = serde_json::from_str(docs::openapi::document(has_api_keys)).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, operations)| {
            let operations = operations.as_object().unwrap().iter();
            operations.map(move |(method, operation)| {
                let name = format!("{} {path}", method.to_uppercase());
                (name, operation["security"][0]["apiKey"].clone())
            })
        });
        operations.collect()
    }

    #[test]
    fn document_describes_the_routes_and_the_scopes_that_they_need() {
        let for_people = ["/", "/openapi.json", "/docs", "/docs/{file}"];
        let is_documented = |route: &&Route| !for_people.contains(&route.template);
        for has_api_keys in [true, false] {
            let offered = ROUTES.iter().filter(is_documented).filter_map(|route| {
                let scopes = match route.access {
                    Scoped(scope) | KeyOnly(scope) if has_api_keys => json!([scope.name()]),
                    KeyOnly(_) => return None,
                    _ => Value::Null,
                };
                Some((format!("{} {}", route.method, route.template), scopes))
            });
            assert_eq!(documented(has_api_keys), offered.collect());
        }
    }
}
