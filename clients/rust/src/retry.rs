//! Calls that are made again: deadline, retry budget, and places in flight.

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

use crate::{
    CallError, CallOptions, LocalClient, Resolver, balancer::Links, health::UsersCapability,
    link::Link,
};

/// Attempts after the first. More would only add load to a service in trouble.
const MAX_RETRIES: usize = 2;
/// Retries are at most this share of the calls, so that an outage is not answered with a storm.
const RETRY_BUDGET: f64 = 0.2;
/// Retries that may be saved up for a burst of failures, such as a restart of the service.
const RETRY_BURST: f64 = 100.0;

/// Longest pause before a retry; the pause is a random part of it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

pub struct Inner {
    pub links: Rc<Links>,
    max_in_flight: usize,
    in_flight: Cell<usize>,
    retries: Cell<f64>,
    durations: RefCell<HashMap<(&'static str, &'static str), Histogram>>,
}

impl Inner {
    pub fn new(replicas: Resolver, max_in_flight: usize) -> Self {
        Self {
            links: Links::new(replicas),
            max_in_flight,
            in_flight: Cell::new(0),
            retries: Cell::new(RETRY_BURST),
            durations: RefCell::default(),
        }
    }
}

impl LocalClient {
    /// Makes a call, and measures it.
    pub(crate) async fn call<T, F>(
        &self,
        method: &'static str,
        effect: Effect,
        options: &CallOptions,
        send: impl Fn(&UsersCapability, &Context<'_>) -> F,
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
        send: impl Fn(&UsersCapability, &Context<'_>) -> F,
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
pub struct Context<'a> {
    pub timeout: Duration,
    pub traceparent: &'a str,
}

/// What a call leaves behind in the service.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect {
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
