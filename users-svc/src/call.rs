//! A call, from admission to answer: the limits it must pass, its span and measurement, and that a panic
//! costs nobody else anything.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capnp::ErrorKind;
use futures::FutureExt as _;
use metrics::{Gauge, gauge, histogram};
use service_runtime::metrics::HistogramFamily;
use service_runtime::trace::{Span, SpanKind, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::outcome::CallFailure;

/// Calls that the peer of one connection may abandon, each of which leaves a fifth of a KiB behind until
/// the connection closes (capnp-rpc 0.27 forgets to return them). Then it is drained, and the peer
/// connects anew.
const MAX_ABANDONED: usize = 10_000;

/// What lets calls in, for the whole process.
#[derive(Clone)]
pub struct Admission {
    in_flight: Arc<Semaphore>,
    active: Gauge,
    /// One connection does not get everything: others can still be served.
    max_per_connection: usize,
    /// Whether the schema has been checked; before that, no call is let in.
    schema_is_checked: Arc<AtomicBool>,
}

impl Admission {
    /// Lets in at most `max_in_flight` calls at once, of which one connection gets at most half.
    pub fn new(max_in_flight: usize) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            active: gauge!("rpc_server_active_calls"),
            max_per_connection: max_in_flight.div_ceil(2),
            schema_is_checked: Arc::default(),
        }
    }

    /// Lets calls in from now on.
    pub fn open(&self) {
        self.schema_is_checked.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    /// By method and outcome.
    static DURATIONS: HistogramFamily<(&'static str, &'static str)> =
        HistogramFamily::new(|(method, outcome)| {
            histogram!(
                "rpc_server_call_duration_seconds", "rpc_method" => *method, "outcome" => *outcome
            )
        });
}

/// The calls of one connection.
pub struct Calls {
    admission: Admission,
    in_flight: TaskTracker,
    abandoned: Cell<usize>,
    draining: CancellationToken,
}

impl Calls {
    /// `draining` is the connection's: new calls are refused once it is cancelled.
    pub fn new(admission: Admission, draining: CancellationToken) -> Self {
        Self {
            admission,
            in_flight: TaskTracker::new(),
            abandoned: Cell::new(0),
            draining,
        }
    }

    /// Whether calls are let in: the schema has been checked, and the connection is not draining.
    pub fn are_accepted(&self) -> bool {
        self.admission.schema_is_checked.load(Ordering::Relaxed) && !self.draining.is_cancelled()
    }

    /// Completes when the calls in flight have been answered. For a connection that drains.
    pub async fn all_answered(&self) {
        self.in_flight.close();
        self.in_flight.wait().await;
    }

    /// Runs a call within the limits. `parent` is the caller's span; `call` gets the one to do its work under.
    pub async fn run(
        &self,
        method: &'static str,
        parent: Option<TraceContext>,
        call: impl AsyncFnOnce(TraceContext) -> Result<(), capnp::Error>,
    ) -> Result<(), capnp::Error> {
        let begin = Instant::now();
        let mut span = Span::start(method, SpanKind::Server, parent);
        let trace = span.context();

        let answered = match self.admit() {
            Some(mut guard) => {
                let answered = contain_panic(call(trace)).await;
                guard.is_answered = true;
                answered
            }
            None => Err(CallFailure::NotExecuted.into()),
        };

        let outcome = match &answered {
            Ok(()) => "ok",
            Err(error) if error.kind == ErrorKind::Overloaded => "overloaded",
            Err(_) => "failed",
        };
        if answered.is_err() {
            span.fail(outcome);
        }
        // Why it failed is in the log already, and the caller says whose request it was.
        tracing::debug!(trace_id = trace.trace_id(), method, outcome, "call");
        DURATIONS.with(|durations| durations.record((method, outcome), begin.elapsed()));
        answered
    }

    /// Lets a call in, unless a limit is reached or the connection drains.
    fn admit(&self) -> Option<InFlightGuard<'_>> {
        if !self.are_accepted() || self.in_flight.len() >= self.admission.max_per_connection {
            return None;
        }
        let permit = self.admission.in_flight.clone().try_acquire_owned().ok()?;
        self.admission.active.increment(1.0);
        Some(InFlightGuard {
            calls: self,
            is_answered: false,
            _permit: permit,
            _token: self.in_flight.token(),
        })
    }
}

/// Turns a panic into a failure of this call only. Unwinding into the RPC system would end the connection
/// and fail all its calls.
async fn contain_panic(
    call: impl Future<Output = Result<(), capnp::Error>>,
) -> Result<(), capnp::Error> {
    let ended = AssertUnwindSafe(call).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        tracing::error!("a call panicked");
        Err(CallFailure::OutcomeUnknown.into())
    })
}

/// A call in flight. Dropped before it is answered when the peer abandons it.
struct InFlightGuard<'a> {
    calls: &'a Calls,
    is_answered: bool,
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        let calls = self.calls;
        calls.admission.active.decrement(1.0);
        if self.is_answered {
            return;
        }
        calls.abandoned.set(calls.abandoned.get() + 1);
        if calls.abandoned.get() == MAX_ABANDONED {
            tracing::info!("draining an RPC connection whose peer has abandoned too many calls");
            calls.draining.cancel();
        }
    }
}

impl From<CallFailure> for capnp::Error {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::NotExecuted => Self::overloaded(failure.to_string()),
            CallFailure::OutcomeUnknown => Self::failed(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn panic_fails_its_own_call_and_reveals_nothing() {
        let error = block_on(contain_panic(async { panic!("secret") })).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(!error.extra.contains("secret"));
    }
}
