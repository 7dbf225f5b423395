//! A span of the OpenTelemetry SDK.

use std::fmt::Display;

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind as OtelKind, Status, TraceContextExt as _,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::trace::Span;

use super::TRACER;
use crate::trace::{Attribute, SpanKind, TraceContext};

/// A span of the SDK, exported when it is dropped.
pub struct ExportedSpan(Span);

/// Begins a span; `None` when this process exports nothing.
pub fn start(
    name: &dyn Display,
    kind: SpanKind,
    parent: Option<TraceContext>,
    links: &[TraceContext],
) -> Option<(ExportedSpan, TraceContext)> {
    let tracer = TRACER.get()?;
    let under = parent.map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(span_context(parent))
    });
    let links = links
        .iter()
        .map(|link| Link::with_context(span_context(*link)));
    let span = SpanBuilder::from_name(name.to_string())
        .with_kind(match kind {
            SpanKind::Server => OtelKind::Server,
            SpanKind::Client => OtelKind::Client,
        })
        .with_links(links.collect());
    let span = tracer.build_with_context(span, &under);
    let context = span.span_context();
    let context = TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        sampled: context.is_sampled(),
    };
    Some((ExportedSpan(span), context))
}

fn span_context(context: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_be_bytes()),
        SpanId::from_bytes(context.span_id.to_be_bytes()),
        TraceFlags::default().with_sampled(context.sampled),
        true,
        TraceState::default(),
    )
}

impl ExportedSpan {
    /// Sets an attribute, which is not written for a span that is not sampled.
    pub fn set(&mut self, name: &'static str, value: Attribute) {
        if !self.0.is_recording() {
            return;
        }
        self.0.set_attribute(match value {
            Attribute::Text(text) => KeyValue::new(name, text.to_owned()),
            Attribute::Format(text) => KeyValue::new(name, text.to_string()),
            Attribute::Number(number) => KeyValue::new(name, number),
        });
    }

    /// Sets the status to an error.
    pub fn fail(&mut self, cause: &str) {
        if self.0.is_recording() {
            self.0.set_status(Status::error(cause.to_owned()));
        }
    }
}
