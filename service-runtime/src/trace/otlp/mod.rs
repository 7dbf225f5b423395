//! Spans exported by OTLP, over HTTP with protobuf, to the collector that the environment names.

mod bounded_queue;
mod endpoint;
mod exported_span;
mod losses;
mod reporting_exporter;
mod transport;
mod variables;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use uuid::Uuid;

pub use exported_span::{ExportedSpan, start};

use bounded_queue::BoundedQueue;
use losses::Losses;
use reporting_exporter::ReportingExporter;
use transport::Transport;
use variables::Variables;

/// How long the last spans may take at the end of the process, whatever the collector does.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause between two log lines on spans that are lost. A collector may be away for hours.
const LOG_PAUSE: Duration = Duration::from_secs(10);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Exports the last spans when it is dropped.
pub struct Exporter {
    provider: SdkTracerProvider,
    losses: Arc<Losses>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // What it has not exported by then is counted.
        let _ = self.provider.shutdown_with_timeout(LAST_EXPORT_TIMEOUT);
        self.losses.end();
    }
}

/// Starts exporting the spans of `service`, if the environment names a collector. Hold the exporter until the
/// process ends. Fails when a variable has a bad value; the error names it.
pub fn init(service: &'static str) -> anyhow::Result<Option<Exporter>> {
    let Some(variables) = Variables::read()? else {
        return Ok(None);
    };

    let shown = variables.endpoint.to_string();
    let losses = Arc::new(Losses::new(&shown, LOG_PAUSE));
    let transport = Transport::new(&variables.endpoint, variables.ca, variables.timeout)?;
    let answer = transport.answer();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(transport)
        .with_endpoint(variables.endpoint.url())
        .with_timeout(variables.timeout)
        .build()?;
    let exporter = ReportingExporter::new(exporter, answer, losses.clone());
    let batches = BatchSpanProcessor::builder(exporter).build();
    let queue = BoundedQueue::new(batches, variables.max_queue, losses.clone());

    let provider = SdkTracerProvider::builder()
        .with_span_processor(queue)
        .with_resource(resource(service, variables.service_name))
        .build();
    let _ = TRACER.set(provider.tracer(service));
    tracing::info!(endpoint = shown, "exporting spans");
    Ok(Some(Exporter { provider, losses }))
}

/// What the spans say of the process that they come from. The environment has the last word.
fn resource(service: &'static str, name: Option<String>) -> Resource {
    let ours = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let resource = Resource::builder_empty()
        .with_attributes(ours)
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match name {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}
