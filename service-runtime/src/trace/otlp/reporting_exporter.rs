//! The SDK's exporter, with a report of what becomes of each batch of spans.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::losses::Losses;
use super::transport::Answer;

/// Exports one batch after the other, and reports each.
#[derive(Debug)]
pub struct ReportingExporter {
    exporter: OtlpExporter,
    /// The last answer of the collector.
    answer: Answer,
    losses: Arc<Losses>,
}

impl ReportingExporter {
    /// `answer` is that of the exporter's transport.
    pub fn new(exporter: OtlpExporter, answer: Answer, losses: Arc<Losses>) -> Self {
        Self {
            exporter,
            answer,
            losses,
        }
    }
}

impl SpanExporter for ReportingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.losses.begin_export(spans);
        let exported = self.exporter.export(batch).await;
        match (&exported, self.answer.take()) {
            (Ok(()), None) => self.losses.end_export(0, ""),
            (Ok(()), Some(fault)) => self.losses.end_export(fault.rejected, &fault.reason),
            // What the transport saw explains more than what the exporter makes of it.
            (Err(_), Some(fault)) => self.losses.end_export(spans, &fault.reason),
            (Err(error), None) => self.losses.end_export(spans, &error.to_string()),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
