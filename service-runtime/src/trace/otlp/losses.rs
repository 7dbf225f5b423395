//! Spans that are lost, and what the log says of them: a line at once, then one a while with a count, and one
//! when spans are exported again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::logging::one_line;
use crate::throttle::Throttle;

/// The spans on their way to a collector, and those that are lost on it.
#[derive(Debug)]
pub struct Losses {
    /// The collector, as log lines name it.
    endpoint: String,
    lines: Throttle<Loss>,
    /// Spans in the queue.
    waiting: AtomicU64,
    /// Spans of the batch that is being exported.
    in_flight: AtomicU64,
    /// Lost spans that no line has counted yet.
    untold: AtomicU64,
    /// Whether the last line said that spans are lost.
    is_told: AtomicBool,
}

/// How spans are lost.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Loss {
    QueueFull,
    NotExported,
}

impl Losses {
    /// At least `pause` is between two lines on one kind of loss.
    pub fn new(endpoint: &str, pause: Duration) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            lines: Throttle::new(pause),
            waiting: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        }
    }

    /// Takes a place in the queue for a span. `false`: `max` wait already, and the span is lost.
    pub fn enqueue(&self, max: u64) -> bool {
        if self.waiting.fetch_add(1, Relaxed) < max {
            return true;
        }
        self.waiting.fetch_sub(1, Relaxed);
        self.lost(Loss::QueueFull, 1, || {
            format!("the queue is full: OTEL_BSP_MAX_QUEUE_SIZE={max}")
        });
        false
    }

    /// So many of those that wait are about to be exported.
    pub fn begin_export(&self, spans: u64) {
        self.waiting.fetch_sub(spans, Relaxed);
        self.in_flight.store(spans, Relaxed);
    }

    /// The export has ended, and `lost` of its spans are lost, for this reason.
    pub fn end_export(&self, lost: u64, reason: &str) {
        self.in_flight.store(0, Relaxed);
        if lost > 0 {
            self.lost(Loss::NotExported, lost, || reason.to_owned());
        } else if self.is_told.swap(false, Relaxed) {
            let lost = self.untold.swap(0, Relaxed);
            tracing::info!(endpoint = self.endpoint, lost, "exporting spans again");
        }
    }

    /// The process ends, and with it the exports. Tells of all lost spans that no line has counted yet.
    pub fn end(&self) {
        let unfinished = self.waiting.load(Relaxed) + self.in_flight.load(Relaxed);
        self.untold.fetch_add(unfinished, Relaxed);
        if self.untold.load(Relaxed) > 0 {
            self.tell("the process ends");
        }
    }

    fn lost(&self, how: Loss, spans: u64, reason: impl FnOnce() -> String) {
        self.untold.fetch_add(spans, Relaxed);
        if self.lines.admit(how).is_some() {
            self.is_told.store(true, Relaxed);
            self.tell(&reason());
        }
    }

    fn tell(&self, reason: &str) {
        let lost = self.untold.swap(0, Relaxed);
        // The collector has a say in it.
        let reason = one_line(&reason);
        tracing::warn!(endpoint = self.endpoint, reason, lost, "spans are lost");
    }
}
