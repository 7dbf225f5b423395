//! When a call is made again, and what its caller learns about the outcome.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::ErrorKind;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::balancer::Balancer;
use crate::health::UsersCapability;
use crate::link::PendingCall;
use crate::retry_budget::RetryBudget;
use crate::types::{CallError, Result};

/// Attempts after the first. More would only add load to a service in trouble.
const MAX_RETRIES: usize = 2;
/// Longest pause before a retry; the pause is a random part of it.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// What a call may change in the service.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect {
    Read,
    Write,
}

/// Makes the calls of one thread, each with a deadline and up to two retries.
pub struct RetryingCaller {
    pub balancer: Rc<Balancer>,
    /// Limits the calls that run at once, over all threads that share it.
    in_flight: Arc<Semaphore>,
    budget: RetryBudget,
}

impl RetryingCaller {
    pub fn new(balancer: Rc<Balancer>, in_flight: Arc<Semaphore>) -> Self {
        Self {
            balancer,
            in_flight,
            budget: RetryBudget::new(),
        }
    }

    /// Makes a call with `send`, which gets the time that is left, and again after a failure that a retry
    /// can mend.
    pub async fn call<T: 'static, F: PendingCall<T>>(
        &self,
        effect: Effect,
        timeout: Duration,
        send: impl Fn(&UsersCapability, Duration) -> F,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        self.budget.deposit();
        let (mut may_have_written, mut last_cause) = (false, None);

        for retries_left in (0..=MAX_RETRIES).rev() {
            // An answer settles the call, whatever became of the attempts before it.
            let failure = match self.attempt(deadline, &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };

            // Only `overloaded` and `unimplemented` promise that the service has not done anything.
            let (cause, may_have_executed, retry_reason) = match failure {
                // The failure before this retry explains more than why the retry was not sent.
                Failure::NotSent(why) => (last_cause.unwrap_or(why.into()), false, None),
                Failure::TimedOut => ("no answer in time".into(), true, None),
                Failure::Rpc(error) => match error.kind {
                    ErrorKind::Unimplemented if !may_have_written => {
                        return Err(CallError::Unimplemented);
                    }
                    ErrorKind::Overloaded => (error.to_string(), false, Some("overloaded")),
                    ErrorKind::Disconnected => (error.to_string(), true, Some("disconnected")),
                    _ => (error.to_string(), true, Some("failed")),
                },
            };
            tracing::debug!(cause, retries_left, "a call to the users service failed");

            // Once an attempt may have written, no later failure changes that: the outcome stays unknown
            // until an attempt settles it.
            may_have_written |= effect == Effect::Write && may_have_executed;
            last_cause = Some(cause);

            let Some(reason) = retry_reason.filter(|_| retries_left > 0) else {
                break;
            };
            if !self.pause_before_retry(reason).await {
                break;
            }
        }

        let error = if may_have_written {
            CallError::OutcomeUnknown
        } else {
            CallError::NotExecuted
        };
        Err(error(last_cause.unwrap_or_default()))
    }

    /// Makes one attempt: takes a link and a permit, sends, and waits for the response.
    async fn attempt<T: 'static, F: PendingCall<T>>(
        &self,
        deadline: Instant,
        send: impl Fn(&UsersCapability, Duration) -> F,
    ) -> std::result::Result<T, Failure> {
        let Some(link) = self.balancer.pick(deadline).await else {
            count_shed("link_down");
            return Err(Failure::NotSent("the users service cannot be reached"));
        };
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            count_shed("in_flight");
            return Err(Failure::NotSent("as many calls as allowed are in flight"));
        };

        let time_left = deadline.saturating_duration_since(Instant::now());
        let call = send(&link.users, time_left);
        match timeout_at(deadline, link.spawn_call(permit, call)).await {
            Ok(Ok(response)) => response.map_err(Failure::Rpc),
            Ok(Err(panic)) => Err(Failure::Rpc(capnp::Error::failed(panic.to_string()))),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Pauses before a retry; returns `false` instead when the budget is spent.
    async fn pause_before_retry(&self, reason: &'static str) -> bool {
        let is_covered = self.budget.withdraw();
        if is_covered {
            counter!("rpc_client_retries_total", "reason" => reason).increment(1);
            sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
        } else {
            count_shed("retry_budget");
        }
        is_covered
    }
}

/// How an attempt failed.
enum Failure {
    NotSent(&'static str),
    TimedOut,
    Rpc(capnp::Error),
}

/// Counts a call that was given up to protect the service or this process.
fn count_shed(reason: &'static str) {
    counter!("rpc_client_shed_total", "reason" => reason).increment(1);
}
