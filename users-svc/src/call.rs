//! A call, from admission to answer: the limits it must pass, its span and measurement, and that a panic
//! costs nobody else anything.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capnp::ErrorKind;
use futures::FutureExt as _;
use metrics::{Gauge, describe_gauge, describe_histogram, gauge, histogram};
use service_runtime::health::Readiness;
use service_runtime::metrics::{HistogramFamily, count};
use service_runtime::trace::{Span, SpanKind, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use users_rpc::transport::{PeerGuard, PeerMemory};

use crate::{access::Role, outcome::CallFailure};

/// What lets calls in, for the whole process.
#[derive(Clone)]
pub struct Admission {
    in_flight: Arc<Semaphore>,
    /// Of those who may only read, all together: they cannot stop creates.
    readers_in_flight: Arc<Semaphore>,
    active: Gauge,
    /// One connection does not get everything: others can still be served.
    max_per_connection: usize,
    /// Whether the schema has been checked; before that, no call is let in.
    schema_is_checked: Arc<AtomicBool>,
    peer_memory: PeerMemory,
    /// Of the `createUsers` calls that are being decoded.
    decoded_calls: Arc<Semaphore>,
    readiness: Readiness,
}

impl Admission {
    /// Lets in at most `max_in_flight` calls at once, of which one connection gets at most half, and all who
    /// may only read get half together.
    pub fn new(max_in_flight: usize, readiness: Readiness) -> Self {
        let half = max_in_flight.div_ceil(2);
        register_metrics(max_in_flight);
        Self {
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            readers_in_flight: Arc::new(Semaphore::new(half)),
            active: gauge!("rpc_server_active_calls"),
            max_per_connection: half,
            schema_is_checked: Arc::default(),
            peer_memory: PeerMemory::default(),
            decoded_calls: Arc::new(Semaphore::new(MAX_DECODED_CALLS)),
            readiness,
        }
    }

    /// The guard of a new connection.
    pub fn guard(&self) -> Rc<PeerGuard> {
        PeerGuard::new(self.peer_memory.clone())
    }

    /// Lets calls in from now on.
    pub fn open(&self) {
        self.schema_is_checked.store(true, Ordering::Relaxed);
    }

    /// Whether calls are let in.
    pub fn is_open(&self) -> bool {
        self.schema_is_checked.load(Ordering::Relaxed)
    }
}

/// `createUsers` calls that a process decodes at the same time. Decoded, they take three times the memory of their
/// messages, and the database takes a few at a time.
const MAX_DECODED_CALLS: usize = 32;
/// `createUsers` calls of one connection that are decoded or wait for that. Our import makes as many.
const MAX_CALLS_FOR_MANY: usize = 4;

/// The methods that are measured: all but `health`, which is asked all the time.
const METHODS: [&str; 6] = [
    "createUser",
    "createUsers",
    "getUser",
    "findUser",
    "listUsers",
    "directory",
];

/// The interface of the contract that a method belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Interface {
    Users,
    UserDirectory,
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

/// Describes the metrics of calls, and lets each begin at zero.
fn register_metrics(max_in_flight: usize) {
    describe_histogram!(
        "rpc_server_call_duration_seconds",
        "How long calls took from their arrival to their answer, refused ones included."
    );
    describe_gauge!(
        "rpc_server_active_calls",
        "Calls that were let in and have no answer yet."
    );
    describe_gauge!(
        "rpc_server_max_active_calls",
        "The most calls that are let in at once: MAX_IN_FLIGHT."
    );
    gauge!("rpc_server_max_active_calls").set(count(max_in_flight));
    for method in METHODS {
        for outcome in ["ok", "overloaded", "failed"] {
            DURATIONS.with(|durations| durations.register((method, outcome)));
        }
    }
}

/// The calls of one connection.
pub struct Calls {
    admission: Admission,
    role: Role,
    in_flight: TaskTracker,
    /// Of those that create many users.
    for_many: Semaphore,
    /// What bounds the memory of their connection.
    pub guard: Rc<PeerGuard>,
    draining: CancellationToken,
}

impl Calls {
    /// `guard` and `draining` are the connection's: new calls are refused once it drains.
    pub fn new(
        admission: Admission,
        role: Role,
        guard: Rc<PeerGuard>,
        draining: CancellationToken,
    ) -> Self {
        Self {
            admission,
            role,
            guard,
            in_flight: TaskTracker::new(),
            for_many: Semaphore::new(MAX_CALLS_FOR_MANY),
            draining,
        }
    }

    /// Whether others should send calls here: this process is not about to stop, and calls are let in.
    pub fn are_invited(&self) -> bool {
        !self.admission.readiness.is_stopping() && self.are_accepted()
    }

    /// Whether calls are let in: the schema has been checked, and the connection is not draining.
    fn are_accepted(&self) -> bool {
        self.admission.is_open() && !self.draining.is_cancelled()
    }

    /// Completes when the calls in flight have been answered. For a connection that drains.
    pub async fn all_answered(&self) {
        self.in_flight.close();
        self.in_flight.wait().await;
    }

    /// Completes when a call may build a large answer; fails at its `deadline`.
    pub async fn large_answer(
        &self,
        deadline: Instant,
    ) -> Result<Option<SemaphorePermit<'_>>, CallFailure> {
        let permit = timeout_at(deadline, self.guard.large_answer()).await;
        permit.map_err(|_| CallFailure::NotExecuted)
    }

    /// Completes when the users of a call for many may be decoded, which must be over when the permits are dropped.
    /// Fails at its `deadline`, and at once when there are too many such calls on the connection.
    pub async fn many_users(&self, deadline: Instant) -> Result<ManyUsers<'_>, CallFailure> {
        let of_connection = self.for_many.try_acquire();
        let of_connection = of_connection.map_err(|_| CallFailure::NotExecuted)?;
        let of_process = async {
            self.guard.caught_up().await;
            self.admission.decoded_calls.acquire().await
        };
        match timeout_at(deadline, of_process).await {
            Ok(Ok(of_process)) => Ok(ManyUsers {
                _permits: (of_connection, of_process),
            }),
            _ => Err(CallFailure::NotExecuted),
        }
    }

    /// Runs a call within the limits. `parent` is the caller's span; `call` gets the one to do its work under.
    pub async fn run(
        &self,
        interface: Interface,
        method: &'static str,
        parent: Option<TraceContext>,
        call: impl AsyncFnOnce(TraceContext) -> Result<(), capnp::Error>,
    ) -> Result<(), capnp::Error> {
        let begin = Instant::now();
        let mut span = start_span(interface, method, parent);
        let trace = span.context();

        let answered = match self.admit() {
            Some(_guard) => contain_panic(call(trace)).await,
            None => Err(CallFailure::NotExecuted.into()),
        };

        let outcome = match &answered {
            Ok(()) => "ok",
            Err(error) if error.kind == ErrorKind::Overloaded => "overloaded",
            Err(_) => "failed",
        };
        if answered.is_err() {
            span.fail(outcome, "");
        }
        // Why it failed is in the log already, and the caller says whose request it was.
        tracing::debug!(trace_id = trace.trace_id(), method, outcome, "call");
        DURATIONS.with(|durations| durations.record((method, outcome), begin.elapsed()));
        answered
    }

    /// Lets a call in, unless a limit is reached or the connection drains.
    fn admit(&self) -> Option<InFlightGuard<'_>> {
        let is_full = self.in_flight.len() >= self.admission.max_per_connection;
        if !self.are_accepted() || is_full || self.guard.is_crowded() {
            return None;
        }
        let acquire = |permits: &Arc<Semaphore>| permits.clone().try_acquire_owned().ok();
        let readers_permit = match self.role {
            Role::Reads => Some(acquire(&self.admission.readers_in_flight)?),
            Role::CreatesAndReads => None,
        };
        let permit = acquire(&self.admission.in_flight)?;
        self.admission.active.increment(1.0);
        Some(InFlightGuard {
            active: &self.admission.active,
            _permit: permit,
            _readers_permit: readers_permit,
            _token: self.in_flight.token(),
        })
    }
}

/// The permits of a call that creates many users.
pub struct ManyUsers<'a> {
    _permits: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

/// Begins the span of a call (OpenTelemetry semantic conventions for RPC).
fn start_span(interface: Interface, method: &'static str, parent: Option<TraceContext>) -> Span {
    let rpc_method = format_args!("users.{interface:?}/{method}");
    let mut span = Span::start(&rpc_method, SpanKind::Server, parent);
    span.set("rpc.system.name", "capnp");
    span.set("rpc.method", rpc_method);
    span
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
    active: &'a Gauge,
    _permit: OwnedSemaphorePermit,
    _readers_permit: Option<OwnedSemaphorePermit>,
    _token: TaskTrackerToken,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.active.decrement(1.0);
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
    use tokio::runtime::LocalRuntime;

    use super::*;

    #[test]
    fn all_readers_together_leave_half_of_the_calls_to_others() {
        LocalRuntime::new().unwrap().block_on(async {
            let admission = Admission::new(4, Readiness::default());
            admission.open();
            let connect = |role| {
                let (guard, draining) = (admission.guard(), CancellationToken::new());
                Calls::new(admission.clone(), role, guard, draining)
            };
            let (readers, writer) = (
                [(); 2].map(|()| connect(Role::Reads)),
                connect(Role::CreatesAndReads),
            );
            let _reads = readers.each_ref().map(|reader| reader.admit().unwrap());
            assert!(readers.iter().all(|reader| reader.admit().is_none()));
            let _create = writer.admit().unwrap();
        });
    }

    #[test]
    fn panic_fails_its_own_call_and_reveals_nothing() {
        let error = block_on(contain_panic(async { panic!("secret") })).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(!error.extra.contains("secret"));
    }
}
