//! The URL map, and what every response carries.

use std::{convert::Infallible, future::Future, panic::AssertUnwindSafe, rc::Rc};

use futures::{
    FutureExt as _,
    future::{Either, Ready, ready},
};
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use send_wrapper::SendWrapper;
use tokio_util::sync::CancellationToken;
use warp::{
    Filter,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    path::FullPath,
};

use crate::{
    docs, probes,
    problem::Problem,
    request_context::RequestContext,
    response::Response,
    telemetry::{NO_ROUTE, Observer},
    upstream::Users,
    users,
};

/// Answers the requests of one thread, over `users`.
pub fn service(
    users: Users,
    draining: CancellationToken,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static {
    let observer = Observer::new();
    let handlers = Handlers {
        users,
        draining,
        observer: observer.clone(),
    };
    Strict {
        service: TowerToHyperService::new(warp::service(routes(handlers))),
        observer,
    }
}

/// Refuses requests whose addressee is not clear, before any route sees them.
#[derive(Clone)]
struct Strict<S> {
    service: S,
    observer: Rc<Observer>,
}

impl<S> Service<Request<Incoming>> for Strict<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let headers = request.headers();
        let hosts = headers.get_all(header::HOST).iter().count();
        // RFC 9112, section 3.2: one Host header, which HTTP/1.0 did not have.
        let one_host = hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11);
        if one_host {
            return Either::Right(self.service.call(request));
        }
        let observed = self.observer.request(NO_ROUTE, request.method(), headers);
        Either::Left(ready(Ok(observed.answer(Err(Problem::ambiguous_host())))))
    }
}

/// What the handlers of one thread share. warp wants to be able to send it to another thread; it
/// never is.
type Shared = SendWrapper<Rc<Handlers>>;

struct Handlers {
    users: Users,
    draining: CancellationToken,
    observer: Rc<Observer>,
}

fn routes(handlers: Handlers) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    const READ: &str = "GET, HEAD, OPTIONS";
    let shared: Shared = SendWrapper::new(Rc::new(handlers));
    let request = warp::any()
        .map(move || shared.clone())
        .and(warp::method())
        .and(warp::header::headers_cloned());

    let collection = warp::path!("users")
        .and(request.clone())
        .and(warp::body::stream())
        .then(|shared: Shared, method, headers, body| {
            shared
                .take()
                .respond("/users", method, headers, async |call| match *call.method {
                    Method::POST => users::create_user(call, body).await,
                    _ => call.options("POST, OPTIONS"),
                })
        });
    let member = warp::path!("users" / String).and(request.clone()).then(
        |id: String, shared: Shared, method, headers| {
            let route = "/users/{id}";
            shared
                .take()
                .respond(route, method, headers, async move |call| {
                    match *call.method {
                        Method::GET | Method::HEAD => users::get_user(call, &id).await,
                        _ => call.options(READ),
                    }
                })
        },
    );
    // The others answer GET alike.
    let other =
        warp::path::full()
            .and(request)
            .then(|path: FullPath, shared: Shared, method, headers| {
                let (route, file) = template(path.as_str());
                shared
                    .take()
                    .respond(route, method, headers, async move |call| {
                        if route == NO_ROUTE {
                            return Err(Problem::not_found());
                        }
                        if !matches!(*call.method, Method::GET | Method::HEAD) {
                            return call.options(READ);
                        }
                        match route {
                            "/livez" => Ok(probes::alive()),
                            "/readyz" => probes::ready(call).await,
                            "/openapi.json" => Ok(docs::document()),
                            "/docs" => Ok(docs::to_page()),
                            _ => docs::page(&file),
                        }
                    })
            });
    collection.or(member).unify().or(other).unify()
}

/// The template of the route that a path belongs to, and the rest of the path.
fn template(path: &str) -> (&'static str, String) {
    let exact = ["/livez", "/readyz", "/openapi.json", "/docs"];
    if let Some(route) = exact.into_iter().find(|route| *route == path) {
        return (route, String::new());
    }
    match path.strip_prefix("/docs/") {
        Some(file) => ("/docs/{file}", file.to_owned()),
        None => (NO_ROUTE, String::new()),
    }
}

impl Handlers {
    /// Runs a handler, and gives its response what every response carries.
    fn respond(
        self: Rc<Self>,
        route: &'static str,
        method: Method,
        headers: HeaderMap,
        handle: impl AsyncFnOnce(RequestContext) -> Result<Response, Problem>,
    ) -> SendWrapper<impl Future<Output = Response>> {
        SendWrapper::new(async move {
            let observed = self.observer.request(route, &method, &headers);
            let call = RequestContext {
                users: &self.users,
                method: &method,
                headers: &headers,
                trace: observed.trace(),
                draining: self.draining.is_cancelled(),
            };
            // A panic costs its own request only, and what that had done by then is not known.
            let answer = AssertUnwindSafe(handle(call)).catch_unwind().await;
            let answer = answer
                .unwrap_or_else(|_| Err(Problem::unknown_outcome().because("a handler panicked")));
            let mut response = observed.answer(answer);
            // hyper hides a Content-Length beside a Transfer-Encoding. What follows such a request may
            // be a second one for us and part of the first for a proxy in front (RFC 9112, 6.1).
            if self.draining.is_cancelled() || headers.contains_key(header::TRANSFER_ENCODING) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        })
    }
}

impl RequestContext<'_> {
    /// What a resource answers to a method it has no handler for.
    fn options(&self, allow: &'static str) -> Result<Response, Problem> {
        if *self.method != Method::OPTIONS {
            return Err(Problem::method_not_allowed(allow));
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allow));
        Ok(response)
    }
}
