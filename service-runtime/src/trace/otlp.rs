//! Spans exported by OTLP, over HTTP with protobuf, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! The other variables of the OpenTelemetry SDK work too: `OTEL_TRACES_SAMPLER`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`.

use std::{env, fmt::Display, sync::OnceLock, time::Duration};

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind as OtelKind, Status, TraceContextExt as _,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use crate::trace::{Attribute, SpanKind, TraceContext};

/// How long the last spans may take at the end of the process, whatever the collector does.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_millis(500);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Exports the last spans when it is dropped.
pub struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_EXPORT_TIMEOUT) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Starts exporting the spans of `service`, if an endpoint is set. Hold the exporter until the process
/// ends.
pub fn init(service: &'static str) -> anyhow::Result<Option<Exporter>> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(None);
    }

    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()?;
    let mut resource = Resource::builder();
    if !is_set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name(service);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let _ = TRACER.set(provider.tracer(service));
    Ok(Some(Exporter(provider)))
}

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
    /// Sets an attribute.
    pub fn set(&mut self, name: &'static str, value: Attribute) {
        self.0.set_attribute(match value {
            Attribute::Text(text) => KeyValue::new(name, text.to_owned()),
            Attribute::Format(text) => KeyValue::new(name, text.to_string()),
            Attribute::Number(number) => KeyValue::new(name, number),
        });
    }

    /// Sets the status to an error.
    pub fn fail(&mut self, cause: &str) {
        self.0.set_status(Status::error(cause.to_owned()));
    }
}
