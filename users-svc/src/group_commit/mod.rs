//! Group commit: calls that wait at the same time go to the database together.
//!
//! Under little load a batch is one call, and nothing waits for company. Under more, everything that
//! arrived while the last batch ran is the next one: the busier, the fewer commits per call.

mod answers;
mod batch;
mod handle;
mod queue;

use std::sync::Arc;

use self::{batch::Batch, queue::Queue};
use crate::batch_kind::BatchKind;
use crate::batch_metrics::BatchMetrics;
use crate::outcome::BatchResults;
use crate::sync::{Mutex, now, spawn_blocking};

pub use self::handle::Handle;

/// A queue of calls `Q` from all threads of the process, and the statement that answers batches of them.
pub struct GroupCommit<Q, A> {
    kind: BatchKind,
    queue: Mutex<Queue<Q, A>>,
    metrics: BatchMetrics,
    execute: Box<Execute<Q, A>>,
}

/// Takes the queries of a batch out of the queue, which may be none. It is called once, when there is a
/// connection for them, so that a call whose time runs out before has not been executed.
pub type Take<'a, Q> = &'a mut dyn FnMut() -> Vec<Q>;
type Execute<Q, A> = dyn Fn(Take<Q>) -> BatchResults<A> + Send + Sync;

impl<Q: Send + 'static, A: Send + 'static> GroupCommit<Q, A> {
    /// Batches of at most `max_batch` queries are run by `execute`, on the blocking pool: one at a time,
    /// and up to `max_running` when a full batch waits beside it or it is slow. `kind` says what they do.
    ///
    /// The queue itself is unbounded: limit the calls in flight. Calls that are given up leave it at the latest when it
    /// has doubled, if it has more than a thousand.
    pub fn new(
        kind: impl Into<BatchKind>,
        max_batch: usize,
        max_running: usize,
        execute: impl Fn(Take<Q>) -> BatchResults<A> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let kind = kind.into();
        Arc::new(Self {
            queue: Mutex::new(Queue::new(max_batch, max_running)),
            metrics: BatchMetrics::new(kind.name),
            kind,
            execute: Box::new(execute),
        })
    }

    /// Starts the batches that are due. Returns whether calls still wait behind them.
    fn start_due_batches(self: &Arc<Self>) -> bool {
        while self.start_batch() {}
        self.queue.lock().waiting() > 0
    }

    /// Starts the next batch, if one is due. It does not run when the runtime of this thread has ended.
    fn start_batch(self: &Arc<Self>) -> bool {
        let Some(first) = self.next_batch() else {
            return false;
        };
        let group_commit = self.clone();
        spawn_blocking(move || group_commit.run_batches(first));
        true
    }

    /// Runs `first`, and after it what is due then.
    fn run_batches(self: &Arc<Self>, first: Batch<Q, A>) {
        first.run();
        while let Some(next) = self.next_batch() {
            next.run();
        }
    }

    /// The next batch, if one is due.
    fn next_batch(self: &Arc<Self>) -> Option<Batch<Q, A>> {
        let now = now();
        let mut queue = self.queue.lock();
        let running = queue.start_batch(now);
        // Also when no batch is due: a queue that only grows is what operators look for.
        self.metrics.waiting(queue.waiting());
        running.map(|running| Batch::new(self.clone(), running))
    }
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
