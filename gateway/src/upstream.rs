//! The users service as a handler calls it: within the request's trace and its time, and measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{describe_gauge, describe_histogram, gauge, histogram};
use service_runtime::metrics::{HistogramFamily, count};
use service_runtime::trace::{ServerAddress, Span, SpanKind, TraceContext};
use tokio::sync::Semaphore;
use users_client::{
    CallError, CallOptions, CreateOutcome, ListOutcome, LocalClient, NewUser, Resolver, User,
};

thread_local! {
    /// By method and outcome.
    static DURATIONS: HistogramFamily<(&'static str, &'static str)> =
        HistogramFamily::new(|(method, outcome)| {
            histogram!(
                "rpc_client_call_duration_seconds", "rpc_method" => *method, "outcome" => *outcome
            )
        });
}

/// The methods that handlers call.
const METHODS: [&str; 4] = ["createUser", "getUser", "findUser", "listUsers"];

/// Describes the metrics of calls, and lets each begin at zero. At most `max_in_flight` calls are made at once.
pub fn register_metrics(max_in_flight: usize) {
    describe_histogram!(
        "rpc_client_call_duration_seconds",
        "How long calls of the users service took, retries included."
    );
    describe_gauge!(
        "rpc_client_max_active_calls",
        "The most calls that are made at once: MAX_IN_FLIGHT."
    );
    gauge!("rpc_client_max_active_calls").set(count(max_in_flight));
    for method in METHODS {
        for outcome in ["ok", "unavailable", "unknown", "unimplemented"] {
            DURATIONS.with(|durations| durations.register((method, outcome)));
        }
    }
}

/// The users service as this thread calls it. Clones share the links.
#[derive(Clone)]
pub struct Users {
    client: LocalClient,
    timeout: Duration,
    /// The replicas, as spans name them.
    server: Arc<ServerAddress>,
    /// The span that calls belong under.
    trace: Option<TraceContext>,
}

impl Users {
    /// Starts links to the replicas that `resolver` finds. Each call gets `timeout` in all, and takes a
    /// permit of `in_flight`, which all threads share. `server` is where the replicas are, for spans.
    ///
    /// Call it on a thread that runs a tokio local runtime.
    pub fn new(
        resolver: Resolver,
        in_flight: Arc<Semaphore>,
        timeout: Duration,
        server: Arc<ServerAddress>,
    ) -> Self {
        Self {
            client: LocalClient::new(resolver, in_flight),
            timeout,
            server,
            trace: None,
        }
    }

    /// The same service, for calls under this span.
    pub fn in_trace(&self, trace: TraceContext) -> Self {
        Self {
            trace: Some(trace),
            ..self.clone()
        }
    }

    /// Stores a user, exactly once.
    pub async fn create_user(&self, new: &NewUser) -> Result<CreateOutcome, CallError> {
        let call = async |options: &_| self.client.create_user(new, options).await;
        self.call("createUser", call).await
    }

    /// Reads a user; `None`: there is none with this id.
    pub async fn get_user(&self, id: &str) -> Result<Option<User>, CallError> {
        let call = async |options: &_| self.client.get_user(id, options).await;
        self.call("getUser", call).await
    }

    /// Reads the page of users that `page_token` stands for; an empty token means the first.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<ListOutcome, CallError> {
        let list = async |options: &_| {
            let client = &self.client;
            client.list_users(page_size, page_token, options).await
        };
        self.call("listUsers", list).await
    }

    /// Finds the user who has this e-mail address, in any letter case.
    pub async fn find_user(&self, email: &str) -> Result<Option<User>, CallError> {
        let call = async |options: &_| self.client.find_user(email, options).await;
        self.call("findUser", call).await
    }

    /// Makes a call in a span of its own, and measures it.
    async fn call<T>(
        &self,
        method: &'static str,
        call: impl AsyncFnOnce(&CallOptions) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let started = Instant::now();
        let mut span = self.start_span(method);
        let options = CallOptions {
            timeout: self.timeout,
            traceparent: span.context().to_string(),
        };
        let result = call(&options).await;

        let outcome = match &result {
            Ok(_) => "ok",
            Err(CallError::NotExecuted(_)) => "unavailable",
            Err(CallError::OutcomeUnknown(_)) => "unknown",
            Err(CallError::Unimplemented) => "unimplemented",
        };
        DURATIONS.with(|durations| durations.record((method, outcome), started.elapsed()));
        if let Err(error) = &result {
            span.fail(outcome, &error.to_string());
        }
        result
    }

    /// Begins the span of a call (OpenTelemetry semantic conventions for RPC).
    fn start_span(&self, method: &'static str) -> Span {
        let rpc_method = format_args!("users.Users/{method}");
        let mut span = Span::start(&rpc_method, SpanKind::Client, self.trace);
        span.set("rpc.system.name", "capnp");
        span.set("rpc.method", rpc_method);
        self.server.set_on(&mut span);
        span
    }
}
