//! What the batches of a queue do, as metrics and traces name it.

use std::sync::Arc;

use service_runtime::trace::{ServerAddress, Span, SpanKind, TraceContext};

use crate::outcome::CallFailure;

/// The kind of batches that a queue makes.
#[derive(Clone)]
pub struct BatchKind {
    /// An operation and what it is done to, such as `INSERT users`.
    pub name: &'static str,
    /// `None`: no database is involved.
    target: Option<Arc<BatchTarget>>,
}

/// The database that batches go to.
pub struct BatchTarget {
    pub server: ServerAddress,
    /// The database's name.
    pub namespace: String,
    /// The table.
    pub collection: &'static str,
}

impl BatchKind {
    /// Batches that go to a database. `name` begins with their operation.
    pub fn new(name: &'static str, target: &Arc<BatchTarget>) -> Self {
        Self {
            name,
            target: Some(target.clone()),
        }
    }

    /// Begins the span of a batch. It belongs to many traces, so it is the root of its own, and links to the spans
    /// that wait for it. Values are in no attribute (OpenTelemetry semantic conventions for PostgreSQL).
    pub fn start_span(&self, waiting: &[TraceContext]) -> Span {
        let mut span = Span::linked(&self.name, SpanKind::Client, None, waiting);
        if let Some(target) = &self.target {
            let operation = self.name.split(' ').next().unwrap_or_default();
            span.set("db.system.name", "postgresql");
            span.set("db.namespace", target.namespace.as_str());
            span.set("db.collection.name", target.collection);
            span.set("db.operation.name", operation);
            span.set("db.query.summary", self.name);
            target.server.set_on(&mut span);
        }
        span
    }
}

/// Ends the span of a batch, if there is one, as an error when a call of it has failed.
pub fn end_span<A>(span: Option<Span>, results: &[Result<A, CallFailure>]) {
    let Some(mut span) = span else { return };
    let mut failures = results.iter().filter_map(|result| result.as_ref().err());
    if let Some(failure) = failures.next() {
        let error_type = match failure {
            CallFailure::NotExecuted => "overloaded",
            CallFailure::OutcomeUnknown => "failed",
        };
        span.fail(error_type, &failure.to_string());
    }
    span.end();
}

impl From<&'static str> for BatchKind {
    /// Batches that go to no database.
    fn from(name: &'static str) -> Self {
        Self { name, target: None }
    }
}
