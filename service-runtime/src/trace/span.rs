//! A span: a piece of work, exported when it is dropped.
//!
//! Without the feature `otlp`, or without an endpoint to export to, a span only hands on its context.

use std::fmt;

use super::TraceContext;

/// What a span does in its trace (OpenTelemetry trace API, SpanKind).
#[derive(Clone, Copy, Debug)]
pub enum SpanKind {
    /// Answers a call from elsewhere.
    Server,
    /// Calls something elsewhere.
    Client,
}

/// A piece of work.
pub struct Span {
    context: TraceContext,
    #[cfg(feature = "otlp")]
    exported: Option<super::otlp::ExportedSpan>,
}

#[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
impl Span {
    /// Begins a span under `parent`, or a trace.
    pub fn start(name: &'static str, kind: SpanKind, parent: Option<TraceContext>) -> Self {
        Self::linked(name, kind, parent, &[])
    }

    /// The same, with links to the spans that it does its work for.
    pub fn linked(
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
        links: &[TraceContext],
    ) -> Self {
        #[cfg(feature = "otlp")]
        if let Some((exported, context)) = super::otlp::start(name, kind, parent, links) {
            return Self {
                context,
                exported: Some(exported),
            };
        }
        Self {
            context: parent.unwrap_or_else(TraceContext::fresh),
            #[cfg(feature = "otlp")]
            exported: None,
        }
    }

    /// How other processes refer to it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Ends it; dropping it does so too.
    pub fn end(self) {}

    /// Sets an attribute, by its name in the OpenTelemetry semantic conventions.
    pub fn set(&mut self, name: &'static str, value: impl fmt::Display) {
        #[cfg(feature = "otlp")]
        if let Some(span) = &mut self.exported {
            span.set(name, value.to_string());
        }
    }

    /// Sets the status to an error, and says why.
    pub fn fail(&mut self, cause: &str) {
        #[cfg(feature = "otlp")]
        if let Some(span) = &mut self.exported {
            span.fail(cause);
        }
    }
}
