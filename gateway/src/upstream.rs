//! The users service as a handler calls it: within the request's trace and its time.

use std::time::Duration;

use service_runtime::trace::{Span, SpanKind, TraceContext};
use users_client::{CallError, CallOptions, CreateOutcome, LocalClient, NewUser, Resolver, User};

/// The users service as this thread calls it. Clones share the links.
#[derive(Clone)]
pub struct Users {
    client: LocalClient,
    timeout: Duration,
}

impl Users {
    /// Starts links to `replicas`. Each call gets `timeout` in all, and at most `max_in_flight` calls
    /// run at once.
    ///
    /// Call it on a thread that runs a tokio local runtime.
    pub fn new(replicas: Resolver, timeout: Duration, max_in_flight: usize) -> Self {
        Self {
            client: LocalClient::new(
                replicas,
                std::sync::Arc::new(tokio::sync::Semaphore::new(
                    max_in_flight.min(tokio::sync::Semaphore::MAX_PERMITS),
                )),
            ),
            timeout,
        }
    }

    /// Stores a user, exactly once.
    pub async fn create_user(
        &self,
        new: &NewUser,
        trace: TraceContext,
    ) -> Result<CreateOutcome, CallError> {
        let mut call = self.begin("createUser", trace);
        call.end(self.client.create_user(new, &call.options).await)
    }

    /// Reads a user; `None`: there is none with this id.
    pub async fn get_user(&self, id: &str, trace: TraceContext) -> Result<Option<User>, CallError> {
        let mut call = self.begin("getUser", trace);
        call.end(self.client.get_user(id, &call.options).await)
    }

    /// Whether the service can serve calls now.
    pub async fn health(&self, trace: TraceContext) -> Result<bool, CallError> {
        let mut call = self.begin("health", trace);
        call.end(self.client.health(&call.options).await)
    }

    /// Whether every thread of this process has a link to the service.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    fn begin(&self, method: &'static str, trace: TraceContext) -> Call {
        let span = Span::start(method, SpanKind::Client, Some(trace));
        let options = CallOptions {
            timeout: self.timeout,
            traceparent: span.context().to_string(),
        };
        Call { span, options }
    }
}

/// A call and its span.
struct Call {
    span: Span,
    options: CallOptions,
}

impl Call {
    fn end<T>(&mut self, called: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(error) = &called {
            self.span.fail(&error.to_string());
        }
        called
    }
}
