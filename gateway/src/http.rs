//! HTTP: connections with their limits, routes, and what every response carries.

use std::{convert::Infallible, future::Future, pin::pin, rc::Rc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use process::workers::{self, Worker};
use send_wrapper::SendWrapper;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use warp::{
    Filter,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};

use crate::{Config, handlers, problem::Problem, users_client::UsersClient};

pub use warp::reply::Response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;
/// How long a request's head may take to arrive, and how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request: request line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;

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
        service: TowerToHyperService::new(routes),
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
        let connection = self
            .connections
            .serve_connection(TokioIo::new(stream), self.service.clone());
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }
}

fn routes(
    users: UsersClient,
    draining: CancellationToken,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    // warp wants to be able to send everything to another thread; nothing here ever is.
    let client = SendWrapper::new(users);
    let request = warp::method().and(warp::header::headers_cloned());

    let users = client.clone();
    let collection = warp::path!("users")
        .and(request)
        .and(warp::body::stream())
        .then(move |method, headers, body| {
            let users = users.clone();
            respond(headers, async move |headers| match method {
                Method::POST => handlers::create_user(&users, headers, body).await,
                other => options(&other, "POST, OPTIONS"),
            })
        });
    let users = client.clone();
    let member =
        warp::path!("users" / String)
            .and(request)
            .then(move |id: String, method, headers| {
                let users = users.clone();
                respond(headers, async move |_| match method {
                    Method::GET | Method::HEAD => handlers::get_user(&users, &id).await,
                    other => options(&other, "GET, HEAD, OPTIONS"),
                })
            });
    let live = warp::path!("livez").and(request).then(|method, headers| {
        respond(headers, async move |_| match method {
            Method::GET | Method::HEAD => Ok(handlers::alive()),
            other => options(&other, "GET, HEAD, OPTIONS"),
        })
    });
    let ready = warp::path!("readyz")
        .and(request)
        .then(move |method, headers| {
            let (users, draining) = (client.clone(), draining.is_cancelled());
            respond(headers, async move |_| match method {
                Method::GET | Method::HEAD => handlers::ready(&users, draining).await,
                other => options(&other, "GET, HEAD, OPTIONS"),
            })
        });
    let nothing = request.then(|_, headers| respond(headers, async |_| Err(Problem::not_found())));
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

/// Runs a handler, and gives its response what every response carries.
fn respond(
    headers: HeaderMap,
    handle: impl AsyncFnOnce(&HeaderMap) -> Result<Response, Problem>,
) -> SendWrapper<impl Future<Output = Response>> {
    SendWrapper::new(async move {
        let request_id = request_id(&headers);
        let answer = handle(&headers).await;
        let mut response = answer.unwrap_or_else(|problem| problem.into_response(&request_id));
        if let Ok(value) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    })
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
