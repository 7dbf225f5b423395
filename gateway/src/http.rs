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
use process::workers::{self, Worker};
use send_wrapper::SendWrapper;
use serde::Serialize;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use warp::{
    Filter,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
};

use crate::{Config, handlers, problem::Problem, users_client::UsersClient};

pub use warp::reply::Response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;
/// How long a request's head may take to arrive, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request: request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long an idle connection stays open when the process stops. A request that is on its way to it
/// is answered, with `Connection: close`, instead of being met by a reset.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves HTTP/1.1 connections of one thread over one link to the users service.
pub struct HttpWorker<S> {
    service: S,
    connections: http1::Builder,
}

/// Makes the worker of this thread, inside its runtime.
pub fn worker(
    config: &Config,
    shutdown: &CancellationToken,
) -> HttpWorker<
    impl Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + 'static,
> {
    // The cap is the process's; each thread watches over its share.
    let max_in_flight = config
        .max_in_flight
        .div_ceil(workers::count(&config.process));
    let users = UsersClient::new(
        config.users_addr.clone(),
        config.request_timeout_ms,
        max_in_flight,
    );
    let routes = warp::service(routes(users, shutdown.clone()));
    let mut connections = http1::Builder::new();
    connections
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(2 * MAX_HEADER_BYTES);
    HttpWorker {
        service: Strict(TowerToHyperService::new(routes)),
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
struct Strict<S>(S);

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
            return Either::Right(self.0.call(request));
        }
        Either::Left(ready(Ok(
            Problem::ambiguous_host().into_response(&request_id(headers))
        )))
    }
}

/// What the handlers of one thread share. warp wants to be able to send it to another thread; it
/// never is.
type Shared = SendWrapper<Rc<Handlers>>;

struct Handlers {
    users: UsersClient,
    draining: CancellationToken,
}

fn routes(
    users: UsersClient,
    draining: CancellationToken,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    const READ: &str = "GET, HEAD, OPTIONS";
    let shared: Shared = SendWrapper::new(Rc::new(Handlers { users, draining }));
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
                .respond(headers, async |shared, headers| match method {
                    Method::POST => handlers::create_user(&shared.users, headers, body).await,
                    other => options(&other, "POST, OPTIONS"),
                })
        });
    let member = warp::path!("users" / String).and(request.clone()).then(
        |id: String, shared: Shared, method, headers| {
            shared
                .take()
                .respond(headers, async move |shared, _| match method {
                    Method::GET | Method::HEAD => handlers::get_user(&shared.users, &id).await,
                    other => options(&other, READ),
                })
        },
    );
    let live = warp::path!("livez")
        .and(request.clone())
        .then(|shared: Shared, method, headers| {
            shared.take().respond(headers, async |_, _| match method {
                Method::GET | Method::HEAD => Ok(handlers::alive()),
                other => options(&other, READ),
            })
        });
    let ready =
        warp::path!("readyz")
            .and(request.clone())
            .then(|shared: Shared, method, headers| {
                shared
                    .take()
                    .respond(headers, async |shared, _| match method {
                        Method::GET | Method::HEAD => {
                            handlers::ready(&shared.users, shared.draining.is_cancelled()).await
                        }
                        other => options(&other, READ),
                    })
            });
    let nothing = request.then(|shared: Shared, _, headers| {
        shared
            .take()
            .respond(headers, async |_, _| Err(Problem::not_found()))
    });
    collection
        .or(member)
        .unify()
        .or(live)
        .unify()
        .or(ready)
        .unify()
        .or(nothing)
        .unify()
}

impl Handlers {
    /// Runs a handler, and gives its response what every response carries.
    fn respond(
        self: Rc<Self>,
        headers: HeaderMap,
        handle: impl AsyncFnOnce(&Self, &HeaderMap) -> Result<Response, Problem>,
    ) -> SendWrapper<impl Future<Output = Response>> {
        SendWrapper::new(async move {
            let request_id = request_id(&headers);
            // A panic costs its own request only, and what that had done by then is not known.
            let answer = AssertUnwindSafe(handle(&self, &headers))
                .catch_unwind()
                .await;
            let answer = answer.unwrap_or_else(|_| {
                tracing::error!(request_id, "a handler panicked");
                Err(Problem::unknown_outcome())
            });
            let mut response = answer.unwrap_or_else(|problem| problem.into_response(&request_id));
            let carried = response.headers_mut();
            if let Ok(value) = HeaderValue::try_from(request_id) {
                carried.insert(REQUEST_ID, value);
            }
            // hyper hides a Content-Length beside a Transfer-Encoding. What follows such a request may
            // be a second one for us and part of the first for a proxy in front (RFC 9112, 6.1).
            if self.draining.is_cancelled() || headers.contains_key(header::TRANSFER_ENCODING) {
                carried.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}

/// What a resource answers to a method it has no handler for.
fn options(method: &Method, allow: &'static str) -> Result<Response, Problem> {
    if method != Method::OPTIONS {
        return Err(Problem::method_not_allowed(allow));
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    Ok(response)
}

/// The client's `X-Request-Id` when it is usable, otherwise a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let usable = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let fits = (1..=MAX_REQUEST_ID).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
    };
    headers
        .get(REQUEST_ID)
        .and_then(usable)
        .unwrap_or_else(|| Uuid::now_v7().to_string())
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
