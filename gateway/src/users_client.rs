//! Calls to the users service: deadline, retries, and what each outcome means to the caller.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use capnp::ErrorKind;
use metrics::{Histogram, counter, histogram};
use process::trace::{Kind, Span, TraceContext};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout_at},
};
use users_rpc::users_capnp::{
    call_context, create_user_response, field_error, get_user_response, user, users,
};
use uuid::Uuid;

use crate::link::{Link, Links};

/// Attempts after the first. More would only add load to a service in trouble.
const MAX_RETRIES: usize = 2;
/// Retries are at most this share of the calls, so that an outage is not answered with a storm.
const RETRY_BUDGET: f64 = 0.2;
/// Retries that may be saved up for a burst of failures, such as a restart of the service.
const RETRY_BURST: f64 = 100.0;

/// Longest pause before a retry; the pause is a random part of it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A user to create, with the id that makes creating it safe to repeat.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Picked by the caller; the same for each repetition.
    pub id: Uuid,
    /// As the client gave it; the service trims and checks it.
    pub email: String,
    /// As the client gave it; the service trims and checks it.
    pub name: String,
}

/// A stored user.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct User {
    /// A UUID.
    pub id: String,
    /// In the case it was given.
    pub email: String,
    pub name: String,
}

/// One fault of a request.
#[derive(Clone, Debug)]
pub struct FieldError {
    /// Name of the field; empty: the request as a whole.
    pub field: String,
    pub reason: String,
}

/// What became of a user to create.
#[derive(Debug)]
pub enum Created {
    /// It is stored; `replayed`: by an earlier call with the same id, email and name.
    Stored {
        user: User,
        replayed: bool,
    },
    Invalid(Vec<FieldError>),
    EmailTaken,
    /// The id belongs to a user with another email or name.
    IdConflict,
}

/// Why a call brought no outcome.
///
/// Each says why, for the log.
#[derive(Debug)]
pub enum CallError {
    /// Nothing was written.
    Unavailable(String),
    /// The call may or may not have had its effect.
    Unknown(String),
}

/// The users service as this thread calls it. Clones share the link.
#[derive(Clone)]
pub struct UsersClient(Rc<Inner>);

struct Inner {
    link: Link,
    timeout: Duration,
    max_in_flight: usize,
    in_flight: Cell<usize>,
    retries: Cell<f64>,
    durations: RefCell<HashMap<(&'static str, &'static str), Histogram>>,
}

impl UsersClient {
    /// Starts a link to `addr`, one of `links`. Each call gets `timeout` in all, and at most `max_in_flight` calls
    /// run at once.
    ///
    /// Call it on a thread that runs a tokio local runtime.
    pub fn new(addr: String, links: Arc<Links>, timeout: Duration, max_in_flight: usize) -> Self {
        Self(Rc::new(Inner {
            link: Link::new(addr, links),
            timeout,
            max_in_flight,
            in_flight: Cell::new(0),
            retries: Cell::new(RETRY_BURST),
            durations: RefCell::default(),
        }))
    }

    /// Stores a user, exactly once.
    pub async fn create_user(
        &self,
        new: &NewUser,
        trace: TraceContext,
    ) -> Result<Created, CallError> {
        self.call("createUser", Effect::Write, trace, |client, context| {
            let mut request = client.create_user_request();
            let mut params = request.get();
            params.set_id(new.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str);
            params.set_email(new.email.as_str());
            params.set_name(new.name.as_str());
            context.write(params.init_context());
            let response = request.send().promise;
            async move { decode_created(response.await?.get()?) }
        })
        .await
    }

    /// Reads a user; `None`: there is none with this id.
    pub async fn get_user(&self, id: &str, trace: TraceContext) -> Result<Option<User>, CallError> {
        self.call("getUser", Effect::Read, trace, |client, context| {
            let mut request = client.get_user_request();
            request.get().set_id(id);
            context.write(request.get().init_context());
            let response = request.send().promise;
            async move {
                Ok(match response.await?.get()?.which()? {
                    get_user_response::User(user) => Some(decode_user(user?)?),
                    get_user_response::NotFound(()) => None,
                })
            }
        })
        .await
    }

    /// Whether every thread of this process has a link to the service.
    pub fn is_linked(&self) -> bool {
        self.0.link.all_up()
    }

    /// Whether the service can serve calls now.
    pub async fn serving(&self, trace: TraceContext) -> Result<bool, CallError> {
        self.call("health", Effect::Read, trace, |client, _| {
            let response = client.health_request().send().promise;
            async move { Ok(response.await?.get()?.get_serving()) }
        })
        .await
    }

    /// Makes a call, and measures it.
    async fn call<T, F>(
        &self,
        method: &'static str,
        effect: Effect,
        trace: TraceContext,
        send: impl Fn(&users::Client, &Context) -> F,
    ) -> Result<T, CallError>
    where
        T: 'static,
        F: Future<Output = capnp::Result<T>> + 'static,
    {
        let begin = Instant::now();
        let mut span = Span::start(method, Kind::Client, Some(trace));
        let called = self.attempt(effect, begin, span.context(), send).await;
        let outcome = match &called {
            Ok(_) => "ok",
            Err(CallError::Unavailable(_)) => "unavailable",
            Err(CallError::Unknown(_)) => "unknown",
        };
        if let Err(CallError::Unavailable(cause) | CallError::Unknown(cause)) = &called {
            span.fail(cause);
        }
        let mut durations = self.0.durations.borrow_mut();
        let duration = durations.entry((method, outcome)).or_insert_with(|| {
            histogram!(
                "rpc_client_call_duration_seconds", "rpc_method" => method, "outcome" => outcome
            )
        });
        duration.record(begin.elapsed().as_secs_f64());
        called
    }

    /// Makes a call with `send`, and again after a failure that repeating it can mend.
    async fn attempt<T, F>(
        &self,
        effect: Effect,
        begin: Instant,
        trace: TraceContext,
        send: impl Fn(&users::Client, &Context) -> F,
    ) -> Result<T, CallError>
    where
        T: 'static,
        F: Future<Output = capnp::Result<T>> + 'static,
    {
        let inner = &self.0;
        let deadline = begin + inner.timeout;
        inner
            .retries
            .set((inner.retries.get() + RETRY_BUDGET).min(RETRY_BURST));
        // Whether an attempt may have written, and why the last one failed.
        let (mut unknown, mut cause) = (false, None::<String>);
        let mut reason = "";
        for attempt in 0..=MAX_RETRIES {
            if attempt > 0 {
                if !inner.spend_retry() {
                    shed("retry_budget");
                    break;
                }
                counter!("rpc_client_retries_total", "reason" => reason).increment(1);
                sleep(RETRY_PAUSE.mul_f64(fastrand::f64())).await;
            }
            let Ok(client) = inner.link.client(deadline).await else {
                shed("link_down");
                cause.get_or_insert("the users service cannot be reached".into());
                break;
            };
            let Some(place) = Place::take(&self.0) else {
                shed("in_flight");
                cause.get_or_insert("as many calls as allowed are in flight".into());
                break;
            };
            let timeout = deadline.saturating_duration_since(Instant::now());
            let call = send(&client, &Context { timeout, trace });
            // A call that is dropped leaks memory at both ends until the connection closes
            // (capnp-rpc 0.27), so each runs to its end, whether or not someone still waits for it.
            let call = spawn_local(async move {
                let answer = call.await;
                drop(place);
                answer
            });
            let error = match timeout_at(deadline, call).await {
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err(error))) => error,
                Ok(Err(panic)) => capnp::Error::failed(panic.to_string()),
                Err(_) => return Err(CallError::Unknown("no answer in time".into())),
            };
            tracing::debug!(%error, attempt, "a call to the users service failed");
            reason = match error.kind {
                ErrorKind::Overloaded => "overloaded",
                ErrorKind::Disconnected => "disconnected",
                ErrorKind::Unimplemented => "unimplemented",
                _ => "failed",
            };
            cause = Some(error.to_string());
            unknown |= effect == Effect::Write && !matches!(reason, "overloaded" | "unimplemented");
            if reason == "unimplemented" {
                break;
            }
        }
        let cause = cause.unwrap_or_default();
        Err(if unknown {
            CallError::Unknown(cause)
        } else {
            CallError::Unavailable(cause)
        })
    }
}

/// Counts a call that was given up for its own good.
fn shed(reason: &'static str) {
    counter!("rpc_client_shed_total", "reason" => reason).increment(1);
}

/// What a call tells the service about itself.
struct Context {
    timeout: Duration,
    trace: TraceContext,
}

impl Context {
    fn write(&self, mut context: call_context::Builder) {
        context.set_timeout_ms(
            u32::try_from(self.timeout.as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
        );
        context.set_traceparent(self.trace.to_string());
    }
}

/// What a call leaves behind in the service.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    Read,
    Write,
}

impl Inner {
    fn spend_retry(&self) -> bool {
        let left = self.retries.get() - 1.0;
        if left >= 0.0 {
            self.retries.set(left);
        }
        left >= 0.0
    }
}

/// A place among the calls in flight.
struct Place(Rc<Inner>);

impl Place {
    fn take(inner: &Rc<Inner>) -> Option<Self> {
        let taken = inner.in_flight.get();
        (taken < inner.max_in_flight).then(|| {
            inner.in_flight.set(taken + 1);
            Self(inner.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

fn decode_created(response: create_user_response::Reader) -> capnp::Result<Created> {
    Ok(match response.which()? {
        create_user_response::User(user) => Created::Stored {
            user: decode_user(user?)?,
            replayed: response.get_replayed(),
        },
        create_user_response::Invalid(errors) => Created::Invalid(
            errors?
                .iter()
                .map(decode_field_error)
                .collect::<capnp::Result<_>>()?,
        ),
        create_user_response::EmailTaken(()) => Created::EmailTaken,
        create_user_response::IdConflict(()) => Created::IdConflict,
    })
}

fn decode_user(user: user::Reader) -> capnp::Result<User> {
    Ok(User {
        id: user.get_id()?.to_string()?,
        email: user.get_email()?.to_string()?,
        name: user.get_name()?.to_string()?,
    })
}

fn decode_field_error(error: field_error::Reader) -> capnp::Result<FieldError> {
    Ok(FieldError {
        field: error.get_field()?.to_string()?,
        reason: error.get_reason()?.to_string()?,
    })
}
