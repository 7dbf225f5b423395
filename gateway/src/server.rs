//! HTTP: connections with their limits, routes, and what every response carries.

use std::{
    convert::Infallible, future::Future, panic::AssertUnwindSafe, pin::pin, rc::Rc, time::Duration,
};

use futures::{
    FutureExt as _,
    future::{Either, Ready, ready},
};

use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use send_wrapper::SendWrapper;
use serde::Serialize;
use service_runtime::{
    trace::TraceContext,
    workers::{self, Worker},
};
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;
use users_client::Resolver;
use warp::{
    Filter,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    path::FullPath,
};

use crate::{
    Settings, docs,
    problem::Problem,
    telemetry::{NO_ROUTE, Observer},
    upstream::Users,
    users,
};

pub use warp::reply::Response;

/// How long a request's head may take to arrive, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request: request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long an idle connection stays open when the process stops. A request that is on its way to it
/// is answered, with `Connection: close`, instead of being met by a reset.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves HTTP/1.1 connections of one thread over its links to the users service.
pub struct HttpWorker<S> {
    service: S,
    connections: http1::Builder,
}

/// Makes the worker of this thread, inside its runtime.
pub fn worker(
    settings: &Settings,
    replicas: &Resolver,
    shutdown: &CancellationToken,
) -> HttpWorker<
    impl Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static,
> {
    // The cap is the process's; each thread watches over its share.
    let max_in_flight = settings
        .max_in_flight
        .div_ceil(workers::count(&settings.process));
    let users = Users::new(replicas.clone(), settings.request_timeout, max_in_flight);
    let observer = Observer::new();
    let handlers = Handlers {
        users,
        draining: shutdown.clone(),
        observer: observer.clone(),
    };
    let routes = warp::service(routes(handlers));
    let mut connections = http1::Builder::new();
    connections
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(2 * MAX_HEADER_BYTES);
    HttpWorker {
        service: Strict {
            service: TowerToHyperService::new(routes),
            observer,
        },
        connections,
    }
}

impl<S> Worker for HttpWorker<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static,
{
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the client is gone already");
            return;
        }
        let mut connection = pin!(
            self.connections
                .serve_connection(TokioIo::new(stream), self.service.clone())
        );
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = async { draining.cancelled().await; sleep(DRAIN_GRACE).await } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
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
                            "/livez" => Ok(users::alive()),
                            "/readyz" => users::ready(call).await,
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

/// A request, as handlers get it.
pub struct Call<'a> {
    pub users: &'a Users,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub trace: TraceContext,
    /// Whether this process is about to end.
    pub draining: bool,
}

impl Handlers {
    /// Runs a handler, and gives its response what every response carries.
    fn respond(
        self: Rc<Self>,
        route: &'static str,
        method: Method,
        headers: HeaderMap,
        handle: impl AsyncFnOnce(Call) -> Result<Response, Problem>,
    ) -> SendWrapper<impl Future<Output = Response>> {
        SendWrapper::new(async move {
            let observed = self.observer.request(route, &method, &headers);
            let call = Call {
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

impl Call<'_> {
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

/// A response with a JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Structs of strings and numbers always serialise.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
