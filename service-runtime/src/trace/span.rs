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

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// A text.
    Text(&'a str),
    /// A text that is written only for spans that are exported.
    Format(fmt::Arguments<'a>),
    /// An integer.
    Number(i64),
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<fmt::Arguments<'a>> for Attribute<'a> {
    fn from(text: fmt::Arguments<'a>) -> Self {
        Self::Format(text)
    }
}

impl From<u16> for Attribute<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// A piece of work.
pub struct Span {
    context: TraceContext,
    #[cfg(feature = "otlp")]
    exported: Option<super::otlp::ExportedSpan>,
}

#[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
impl Span {
    /// Begins a span under `parent`, or a trace. `name` is one of few, as the OpenTelemetry semantic conventions
    /// have it, and is written only by a process that exports spans.
    pub fn start(name: &dyn fmt::Display, kind: SpanKind, parent: Option<TraceContext>) -> Self {
        Self::linked(name, kind, parent, &[])
    }

    /// The same, with links to the spans that it does its work for.
    pub fn linked(
        name: &dyn fmt::Display,
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
    #[cfg_attr(not(feature = "otlp"), expect(clippy::needless_pass_by_value))]
    pub fn set<'a>(&mut self, name: &'static str, value: impl Into<Attribute<'a>>) {
        #[cfg(feature = "otlp")]
        if let Some(span) = &mut self.exported {
            span.set(name, value.into());
        }
    }

    /// Sets the status to an error of this class, one of few, and says why.
    pub fn fail(&mut self, error_type: &str, cause: &str) {
        self.set("error.type", error_type);
        #[cfg(feature = "otlp")]
        if let Some(span) = &mut self.exported {
            span.fail(cause);
        }
    }
}
