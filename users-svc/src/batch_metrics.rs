//! What operators see of the batches of one queue.

use std::time::Duration;

use metrics::{Gauge, Histogram, gauge, histogram};

/// Depth of a queue, and size and duration of its batches.
pub struct BatchMetrics {
    depth: Gauge,
    size: Histogram,
    duration: Histogram,
}

impl BatchMetrics {
    /// `name` says what the batches do.
    pub fn new(name: &'static str) -> Self {
        Self {
            depth: gauge!("batch_queue_depth", "batch" => name),
            size: histogram!("batch_size", "batch" => name),
            duration: histogram!("batch_duration_seconds", "batch" => name),
        }
    }

    /// So many calls wait.
    pub fn waiting(&self, calls: usize) {
        self.depth.set(metric(calls));
    }

    /// A batch of so many calls starts.
    pub fn started(&self, calls: usize) {
        self.size.record(metric(calls));
    }

    /// A batch has ended.
    pub fn ended(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64());
    }
}

/// A count as metrics take it.
fn metric(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
