//! The queue of spans that wait to be exported: at most so many, and those beyond are counted.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

use super::losses::Losses;

/// A batch processor that never gets more than its own queue has room for, because it would drop the rest
/// without a word.
#[derive(Debug)]
pub struct BoundedQueue {
    batches: BatchSpanProcessor,
    max: u64,
    losses: Arc<Losses>,
}

impl BoundedQueue {
    /// At most `max` spans wait in `batches`, whose queue must have room for as many.
    pub fn new(batches: BatchSpanProcessor, max: u64, losses: Arc<Losses>) -> Self {
        Self {
            batches,
            max,
            losses,
        }
    }
}

impl SpanProcessor for BoundedQueue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.losses.enqueue(self.max) {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}
