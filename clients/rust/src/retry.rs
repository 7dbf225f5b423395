//! When a call is made again, and what its caller learns about the outcome.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::ErrorKind;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::balancer::Balancer;
use crate::capability::UsersCapability;
use crate::faults::Replica;
use crate::link::{PendingCall, one_line};
use crate::retry_budget::RetryBudget;
use crate::telemetry::{RetryReason, ShedReason, count_retry, count_shed};
use crate::types::{CallError, Result};

/// Attempts after the first. More would only add load to a service in trouble.
pub const MAX_RETRIES: usize = 2;
/// Longest pause before a retry; the pause is a random part of it.
const MAX_PAUSE: Duration = Duration::from_millis(50);
/// Calls in flight on one link. A service refuses more on a connection, and reads on only when it has answered
/// some, so that a health check behind them would wait as well.
const MAX_CALLS_PER_LINK: usize = 1024;
/// The same of calls that create many users. One that is refused would have the replica avoided.
const MAX_CALLS_FOR_MANY: usize = 4;
/// The part of a call's time that the service does not get, between these limits: enough for the service's
/// own "dropped" to arrive on a busy machine, so that what was not carried out is not reported as unknown.
const ANSWER_RESERVE: u32 = 10;
const MIN_ANSWER_RESERVE: Duration = Duration::from_millis(5);
const MAX_ANSWER_RESERVE: Duration = Duration::from_millis(100);

/// What a call may change in the service.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect {
    Read,
    Write,
}

/// An attempt of a call: what the service is told of it, and what its answer means.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// Whether an attempt before it may have written.
    pub may_have_written: bool,
    /// When the service gives the call up.
    service_deadline: Instant,
    /// When the caller does.
    deadline: Instant,
}

impl Attempt {
    fn first(timeout: Duration) -> Self {
        let reserve = (timeout / ANSWER_RESERVE).clamp(MIN_ANSWER_RESERVE, MAX_ANSWER_RESERVE);
        let now = Instant::now();
        Self {
            may_have_written: false,
            service_deadline: now + timeout.saturating_sub(reserve),
            deadline: now + timeout,
        }
    }

    /// How long the service may take from now on.
    pub fn time_given(&self) -> Duration {
        self.service_deadline
            .saturating_duration_since(Instant::now())
    }
}

/// Makes the calls of one thread, each with a deadline and up to two retries.
pub struct RetryingCaller {
    pub balancer: Rc<Balancer>,
    /// Limits the calls that run at once, over all threads that share it.
    in_flight: Arc<Semaphore>,
    /// Limits those that create many users.
    pub for_many: Semaphore,
    budget: RetryBudget,
}

impl RetryingCaller {
    pub fn new(balancer: Rc<Balancer>, in_flight: Arc<Semaphore>) -> Self {
        Self {
            balancer,
            in_flight,
            for_many: Semaphore::new(MAX_CALLS_FOR_MANY),
            budget: RetryBudget::new(),
        }
    }

    /// Makes a call with `send`, and again after a failure that a retry can mend.
    pub async fn call<T: 'static, F: PendingCall<T>>(
        &self,
        effect: Effect,
        timeout: Duration,
        send: impl Fn(&UsersCapability, Attempt) -> F,
    ) -> Result<T> {
        let first = Attempt::first(timeout);
        self.budget.deposit();
        let mut failures = Failures::of(effect);
        let mut retries = 0..MAX_RETRIES;

        loop {
            let attempt = Attempt {
                may_have_written: failures.may_have_written,
                ..first
            };
            // An answer settles the call, whatever became of the attempts before it.
            let failure = match self.make(attempt, &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let (Some(reason), Some(_)) = (failures.add(failure)?, retries.next()) else {
                break;
            };
            if !self.pause_before_retry(reason, attempt).await {
                break;
            }
        }
        Err(failures.into_error())
    }

    /// Makes one attempt: takes a link and a permit, sends, and waits for the response.
    async fn make<T: 'static, F: PendingCall<T>>(
        &self,
        attempt: Attempt,
        send: impl Fn(&UsersCapability, Attempt) -> F,
    ) -> std::result::Result<T, Failure> {
        let Some(link) = self.balancer.pick(attempt.service_deadline).await else {
            count_shed(ShedReason::LinkDown);
            let fault = self.balancer.describe_faults();
            let why = format!("the users service cannot be reached: {fault}");
            return Err(Failure::NotSent(why));
        };
        let has_room = link.calls.len() < MAX_CALLS_PER_LINK;
        let permit = has_room.then(|| self.in_flight.clone().try_acquire_owned());
        let Some(Ok(permit)) = permit else {
            count_shed(ShedReason::InFlight);
            return Err(Failure::NotSent(
                "as many calls as allowed are in flight".into(),
            ));
        };

        if attempt.time_given().is_zero() {
            return Err(Failure::NotSent("no time is left".into()));
        }
        let call = link.clone().spawn_call(permit, send(&link.users, attempt));
        let rpc = |error| Failure::Rpc(link.replica.clone(), error);
        match timeout_at(attempt.deadline, call).await {
            Ok(Ok(response)) => response.map_err(rpc),
            // Its message may have personal data.
            Ok(Err(_)) => Err(rpc(capnp::Error::failed("the call panicked".into()))),
            Err(_) => Err(Failure::TimedOut(link.replica.clone())),
        }
    }

    /// Pauses before a retry; returns `false` instead when the pause would take the time that is left, or
    /// the budget is spent.
    async fn pause_before_retry(&self, reason: RetryReason, attempt: Attempt) -> bool {
        let retry_at = Instant::now() + MAX_PAUSE.mul_f64(fastrand::f64());
        if retry_at >= attempt.service_deadline {
            return false;
        }
        if !self.budget.withdraw() {
            count_shed(ShedReason::RetryBudget);
            return false;
        }
        count_retry(reason);
        sleep_until(retry_at).await;
        true
    }
}

/// How an attempt failed.
enum Failure {
    NotSent(String),
    TimedOut(Replica),
    Rpc(Replica, capnp::Error),
}

/// The failed attempts of a call: what they may have done, and why there is no answer.
struct Failures {
    effect: Effect,
    may_have_written: bool,
    cause: Option<String>,
}

impl Failures {
    fn of(effect: Effect) -> Self {
        Self {
            effect,
            may_have_written: false,
            cause: None,
        }
    }

    /// Adds an attempt; returns why there may be another one, if there may. Fails when the service is too old for
    /// the call.
    fn add(&mut self, failure: Failure) -> Result<Option<RetryReason>> {
        // Only `overloaded` and `unimplemented` promise that the service has not done anything.
        let (cause, may_have_executed, retry_reason) = match failure {
            // The failure before this retry explains why there was one.
            Failure::NotSent(why) => match &self.cause {
                Some(cause) => (format!("{cause}; then {why}"), false, None),
                None => (why, false, None),
            },
            Failure::TimedOut(replica) => (format!("{replica}: no answer in time"), true, None),
            Failure::Rpc(replica, error) => {
                let cause = format!("{replica}: {}", one_line(&error));
                match error.kind {
                    ErrorKind::Unimplemented if !self.may_have_written => {
                        return Err(CallError::Unimplemented);
                    }
                    ErrorKind::Overloaded => (cause, false, Some(RetryReason::Overloaded)),
                    ErrorKind::Disconnected => (cause, true, Some(RetryReason::Disconnected)),
                    _ => (cause, true, Some(RetryReason::Failed)),
                }
            }
        };
        tracing::debug!(cause, "a call to the users service failed");

        // Once an attempt may have written, no later failure changes that: the outcome stays unknown until an
        // attempt settles it.
        let was_unknown = self.may_have_written;
        self.may_have_written |= self.effect == Effect::Write && may_have_executed;
        // What made the outcome unknown explains more than a refusal after it.
        if !was_unknown || may_have_executed || retry_reason.is_none() {
            self.cause = Some(cause);
        }
        Ok(retry_reason)
    }

    /// What the caller learns when there is no further attempt.
    fn into_error(self) -> CallError {
        let error = if self.may_have_written {
            CallError::OutcomeUnknown
        } else {
            CallError::NotExecuted
        };
        error(self.cause.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    fn rpc(kind: ErrorKind, text: &str) -> Failure {
        let replica = Replica {
            addr: ([10, 0, 0, 1], 4001).into(),
            host: "users".into(),
        };
        let extra = text.into();
        Failure::Rpc(replica, capnp::Error { kind, extra })
    }

    fn error_after(effect: Effect, attempts: impl IntoIterator<Item = Failure>) -> CallError {
        let mut failures = Failures::of(effect);
        for failure in attempts {
            failures.add(failure).unwrap();
        }
        failures.into_error()
    }

    #[test]
    fn write_is_unknown_once_an_attempt_may_have_written_and_a_read_never_is() {
        use Effect::{Read, Write};
        use ErrorKind::{Disconnected, Failed, Overloaded, Unimplemented};
        let is_unknown = |effect, kinds: &[ErrorKind]| {
            let attempts = kinds.iter().map(|kind| rpc(*kind, ""));
            matches!(error_after(effect, attempts), CallError::OutcomeUnknown(_))
        };
        assert!(!is_unknown(Write, &[Overloaded; 3]));
        for lost in [Disconnected, Failed] {
            assert!(is_unknown(Write, &[lost]));
            assert!(is_unknown(Write, &[lost, Overloaded, Overloaded]));
            assert!(is_unknown(Write, &[Overloaded, lost, Unimplemented]));
            assert!(!is_unknown(Read, &[lost; 3]));
        }
    }

    #[test]
    fn call_is_made_again_after_every_error_that_a_service_answers_with() {
        use ErrorKind::{Disconnected, Failed, Overloaded};
        for (kind, reason) in [
            (Overloaded, RetryReason::Overloaded),
            (Disconnected, RetryReason::Disconnected),
            (Failed, RetryReason::Failed),
        ] {
            let retry = Failures::of(Effect::Read).add(rpc(kind, "")).unwrap();
            assert_eq!(retry, Some(reason));
        }
        let mut too_old = Failures::of(Effect::Write);
        let error = too_old.add(rpc(ErrorKind::Unimplemented, ""));
        assert_eq!(error, Err(CallError::Unimplemented));
        let not_sent = Failure::NotSent(String::new());
        assert_eq!(too_old.add(not_sent), Ok(None));
    }

    #[test]
    fn caller_is_told_what_made_the_outcome_unknown_or_else_what_came_last() {
        let cause = |attempts| match error_after(Effect::Write, attempts) {
            CallError::NotExecuted(cause) | CallError::OutcomeUnknown(cause) => cause,
            CallError::Unimplemented => unreachable!(),
        };
        let busy = || rpc(ErrorKind::Overloaded, "busy");
        let lost = |text| rpc(ErrorKind::Disconnected, text);
        let not_sent = || Failure::NotSent("no time is left".into());

        assert_eq!(cause(vec![not_sent()]), "no time is left");
        assert!(cause(vec![rpc(ErrorKind::Overloaded, "full"), busy()]).ends_with(": busy"));
        assert!(cause(vec![lost("reset"), busy(), busy()]).ends_with(": reset"));
        assert!(cause(vec![lost("reset"), lost("closed")]).ends_with(": closed"));
        let then = cause(vec![lost("reset"), busy(), not_sent()]);
        assert!(then.ends_with(": reset; then no time is left"), "{then}");
    }

    #[test]
    fn service_has_nine_tenths_of_the_time_of_a_call_or_a_bounded_part_less() {
        let mut paused = Builder::new_current_thread();
        let runtime = paused.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for (milliseconds, given) in [(3, 0), (20, 15), (500, 450), (10_000, 9_900)] {
                let attempt = Attempt::first(Duration::from_millis(milliseconds));
                assert_eq!(attempt.time_given(), Duration::from_millis(given));
            }
        });
    }
}
