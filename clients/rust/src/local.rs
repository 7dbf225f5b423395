//! Calls to the users service: deadline, retries, and what each outcome means to the caller.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use capnp::ErrorKind;
use metrics::{Histogram, counter, histogram};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout_at},
};
use users_rpc::users_capnp::{
    call_context, create_user_response, field_error, get_user_response, list_users_response, user,
    users,
};
use uuid::Uuid;

use crate::{
    CallError, CreateOutcome, FieldError, ListOutcome, NewUser, Resolver, User,
    link::{Link, Links},
};

/// Attempts after the first. More would only add load to a service in trouble.
const MAX_RETRIES: usize = 2;
/// Retries are at most this share of the calls, so that an outage is not answered with a storm.
const RETRY_BUDGET: f64 = 0.2;
/// Retries that may be saved up for a burst of failures, such as a restart of the service.
const RETRY_BURST: f64 = 100.0;

/// Longest pause before a retry; the pause is a random part of it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a call carries beside its arguments.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// How long the call may take in all, repetitions included.
    pub timeout: Duration,
    /// The caller's place in a trace (W3C Trace Context); empty: none.
    pub traceparent: String,
}

impl Default for CallOptions {
    /// Five seconds, and no trace.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            traceparent: String::new(),
        }
    }
}

/// The users service as one thread calls it. Clones share the links.
#[derive(Clone)]
pub struct LocalClient(Rc<Inner>);

struct Inner {
    links: Rc<Links>,
    max_in_flight: usize,
    in_flight: Cell<usize>,
    retries: Cell<f64>,
    durations: RefCell<HashMap<(&'static str, &'static str), Histogram>>,
}

impl LocalClient {
    /// Starts a link to each of `replicas`. At most `max_in_flight` calls run at once.
    ///
    /// Call it on a thread that runs a tokio local runtime.
    #[must_use]
    pub fn new(replicas: Resolver, max_in_flight: usize) -> Self {
        Self(Rc::new(Inner {
            links: Links::new(replicas),
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
        options: &CallOptions,
    ) -> Result<CreateOutcome, CallError> {
        self.call("createUser", Effect::Write, options, |client, context| {
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
    pub async fn get_user(
        &self,
        id: &str,
        options: &CallOptions,
    ) -> Result<Option<User>, CallError> {
        self.call("getUser", Effect::Read, options, |client, context| {
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

    /// Reads the users that follow `page_token`, by id; an empty token begins at the first.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: &str,
        options: &CallOptions,
    ) -> Result<ListOutcome, CallError> {
        self.call("listUsers", Effect::Read, options, |client, context| {
            let mut request = client.list_users_request();
            let mut params = request.get();
            params.set_page_size(page_size);
            params.set_page_token(page_token);
            context.write(params.init_context());
            let response = request.send().promise;
            async move { decode_listed(response.await?.get()?) }
        })
        .await
    }

    /// Whether every thread that shares the replicas has a link to one.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.links.all_threads_up()
    }

    /// Whether the service can serve calls now.
    pub async fn health(&self, options: &CallOptions) -> Result<bool, CallError> {
        self.call("health", Effect::Read, options, |client, _| {
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
        options: &CallOptions,
        send: impl Fn(&users::Client, &Context<'_>) -> F,
    ) -> Result<T, CallError>
    where
        T: 'static,
        F: Future<Output = capnp::Result<T>> + 'static,
    {
        let begin = Instant::now();
        let called = self.attempt(effect, begin, options, send).await;
        let outcome = match &called {
            Ok(_) => "ok",
            Err(CallError::NotExecuted(_)) => "unavailable",
            Err(CallError::OutcomeUnknown(_)) => "unknown",
            Err(CallError::Unimplemented) => "unimplemented",
        };
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
        options: &CallOptions,
        send: impl Fn(&users::Client, &Context<'_>) -> F,
    ) -> Result<T, CallError>
    where
        T: 'static,
        F: Future<Output = capnp::Result<T>> + 'static,
    {
        let inner = &self.0;
        let deadline = begin + options.timeout;
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
            let Ok(link) = inner.links.pick(deadline).await else {
                shed("link_down");
                cause.get_or_insert("the users service cannot be reached".into());
                break;
            };
            let Some(place) = Place::take(inner, link) else {
                shed("in_flight");
                cause.get_or_insert("as many calls as allowed are in flight".into());
                break;
            };
            let timeout = deadline.saturating_duration_since(Instant::now());
            let traceparent = options.traceparent.as_str();
            let context = Context {
                timeout,
                traceparent,
            };
            let call = send(&place.link.client, &context);
            // A call that is dropped leaks memory at both ends until the connection closes
            // (capnp-rpc 0.27), so each runs to its end, whether or not someone still waits for it.
            let call = spawn_local(async move {
                let answer = call.await;
                place.leave(&answer);
                answer
            });
            let error = match timeout_at(deadline, call).await {
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err(error))) => error,
                Ok(Err(panic)) => capnp::Error::failed(panic.to_string()),
                Err(_) => {
                    unknown |= effect == Effect::Write;
                    cause = Some("no answer in time".into());
                    break;
                }
            };
            tracing::debug!(%error, attempt, "a call to the users service failed");
            reason = match error.kind {
                ErrorKind::Overloaded => "overloaded",
                ErrorKind::Disconnected => "disconnected",
                ErrorKind::Unimplemented if !unknown => return Err(CallError::Unimplemented),
                _ => "failed",
            };
            cause = Some(error.to_string());
            unknown |= effect == Effect::Write && reason != "overloaded";
        }
        let cause = cause.unwrap_or_default();
        Err(if unknown {
            CallError::OutcomeUnknown(cause)
        } else {
            CallError::NotExecuted(cause)
        })
    }
}

/// Counts a call that was given up for its own good.
fn shed(reason: &'static str) {
    counter!("rpc_client_shed_total", "reason" => reason).increment(1);
}

/// What a call tells the service about itself.
struct Context<'a> {
    timeout: Duration,
    traceparent: &'a str,
}

impl Context<'_> {
    fn write(&self, mut context: call_context::Builder) {
        context.set_timeout_ms(
            u32::try_from(self.timeout.as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
        );
        context.set_traceparent(self.traceparent);
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

/// A place among the calls in flight, and on a link.
struct Place {
    inner: Rc<Inner>,
    link: Rc<Link>,
    well: bool,
}

impl Place {
    fn take(inner: &Rc<Inner>, link: Rc<Link>) -> Option<Self> {
        let taken = inner.in_flight.get();
        (taken < inner.max_in_flight).then(|| {
            inner.in_flight.set(taken + 1);
            link.begin();
            Self {
                inner: inner.clone(),
                link,
                well: false,
            }
        })
    }

    fn leave<T>(mut self, answer: &capnp::Result<T>) {
        self.well = match answer {
            Ok(_) => true,
            Err(error) => error.kind == ErrorKind::Unimplemented,
        };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.in_flight.set(self.inner.in_flight.get() - 1);
        self.inner.links.end(&self.link, self.well);
    }
}

fn decode_created(response: create_user_response::Reader) -> capnp::Result<CreateOutcome> {
    Ok(match response.which()? {
        create_user_response::User(user) => CreateOutcome::Stored {
            user: decode_user(user?)?,
            replayed: response.get_replayed(),
        },
        create_user_response::Invalid(errors) => {
            CreateOutcome::Invalid(decode_field_errors(errors?)?)
        }
        create_user_response::EmailTaken(()) => CreateOutcome::EmailTaken,
        create_user_response::IdConflict(()) => CreateOutcome::IdConflict,
    })
}

fn decode_user(user: user::Reader) -> capnp::Result<User> {
    Ok(User {
        id: user.get_id()?.to_string()?,
        email: user.get_email()?.to_string()?,
        name: user.get_name()?.to_string()?,
    })
}

fn decode_listed(response: list_users_response::Reader) -> capnp::Result<ListOutcome> {
    Ok(match response.which()? {
        list_users_response::Page(page) => ListOutcome::Page {
            users: page
                .get_users()?
                .iter()
                .map(decode_user)
                .collect::<capnp::Result<_>>()?,
            next_page_token: page.get_next_page_token()?.to_string()?,
        },
        list_users_response::Invalid(errors) => ListOutcome::Invalid(decode_field_errors(errors?)?),
    })
}

fn decode_field_errors(
    errors: capnp::struct_list::Reader<'_, field_error::Owned>,
) -> capnp::Result<Vec<FieldError>> {
    let decode = |error: field_error::Reader| {
        Ok(FieldError {
            field: error.get_field()?.to_string()?,
            reason: error.get_reason()?.to_string()?,
        })
    };
    errors.iter().map(decode).collect()
}
