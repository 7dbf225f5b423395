//! What operators see of the batches of one queue.

use std::time::Duration;

use metrics::{Gauge, Histogram, describe_gauge, describe_histogram, gauge, histogram};
use service_runtime::metrics::count;

/// Depth of a queue, and its batches: their size, their duration, and how long they let calls wait.
pub struct BatchMetrics {
    depth: Gauge,
    size: Histogram,
    duration: Histogram,
    wait: Histogram,
}

impl BatchMetrics {
    /// `name` says what the batches do.
    pub fn new(name: &'static str) -> Self {
        describe_gauge!(
            "batch_queue_depth",
            "Calls that wait for a batch to take them."
        );
        describe_histogram!(
            "batch_queue_wait_seconds",
            "How long the oldest call of a batch had waited when the batch took it."
        );
        describe_histogram!("batch_size", "Calls that a batch has taken.");
        describe_histogram!(
            "batch_duration_seconds",
            "How long a batch took from its start to the answer of the database."
        );
        Self {
            depth: gauge!("batch_queue_depth", "batch" => name),
            size: histogram!("batch_size", "batch" => name),
            duration: histogram!("batch_duration_seconds", "batch" => name),
            wait: histogram!("batch_queue_wait_seconds", "batch" => name),
        }
    }

    /// So many calls wait.
    pub fn waiting(&self, calls: usize) {
        self.depth.set(count(calls));
    }

    /// A batch has taken so many calls, of which the oldest had waited for `wait`.
    pub fn taken(&self, calls: usize, wait: Duration) {
        self.size.record(count(calls));
        self.wait.record(wait.as_secs_f64());
    }

    /// A batch has ended.
    pub fn ended(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64());
    }
}
