//! The state of a group commit: the calls that wait, when a batch of them is due, and the batches that run.
//!
//! Nothing here waits or reads the clock. [`GroupCommit`](super::GroupCommit) keeps it behind a lock.

use std::{collections::VecDeque, mem, time::Duration};

use service_runtime::trace::TraceContext;
use tokio::time::Instant;

use super::answers::Recipient;
use crate::claim::Claim;

/// How long a call waits for the batch before it until a second batch starts beside that one. Longer
/// lets one slow commit hold up everybody; shorter splits batches for nothing.
pub const SLOW_BATCH: Duration = Duration::from_millis(10);

/// Calls that wait until the queue looks whether their callers still do. Each look costs as much as that many calls.
const MIN_FULL_LOOK: usize = 1024;

/// The calls that wait, and how many batches run.
pub struct Queue<Q, A> {
    waiting: VecDeque<Job<Q, A>>,
    /// How many have to wait for the next look at all of them.
    full_look_at: usize,
    max_batch: usize,
    max_running: usize,
    running: usize,
    /// Those of the running batches that have yet to take their calls.
    taking: usize,
}

/// A call that waits for its batch.
pub struct Job<Q, A> {
    /// Taken by the batch, or given up by the caller.
    pub query: Claim<Q>,
    pub queued_at: Instant,
    pub deadline: Instant,
    /// The span that waits for the answer.
    pub trace: TraceContext,
    pub recipient: Recipient<A>,
}

/// A batch that counts as running, until [`Queue::end`].
pub struct RunningBatch {
    has_taken: bool,
}

impl<Q, A> Queue<Q, A> {
    /// A queue of which at most `max_running` batches run at a time, of at most `max_batch` calls each.
    pub fn new(max_batch: usize, max_running: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            full_look_at: MIN_FULL_LOOK,
            max_batch,
            max_running,
            running: 0,
            taking: 0,
        }
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Lets a call wait. Those that wait for nothing any more are dropped before they are more than the others.
    pub fn push(&mut self, job: Job<Q, A>) {
        if self.waiting.len() >= self.full_look_at {
            let now = job.queued_at;
            self.waiting.retain(|job| !job.is_expired(now));
            self.full_look_at = MIN_FULL_LOOK.max(2 * self.waiting.len());
        }
        self.waiting.push_back(job);
    }

    /// Starts the next batch, if one is due.
    pub fn start_batch(&mut self, now: Instant) -> Option<RunningBatch> {
        self.drop_expired(now);
        if !self.is_due(now) {
            return None;
        }
        self.running += 1;
        self.taking += 1;
        Some(RunningBatch { has_taken: false })
    }

    /// Drops the jobs at the front whose callers are gone or no longer wait.
    fn drop_expired(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|job| job.is_expired(now)) {
            self.waiting.pop_front();
        }
    }

    /// Whether a batch is to start: the only one, or another beside a full queue or a slow batch.
    fn is_due(&self, now: Instant) -> bool {
        let Some(first) = self.waiting.front() else {
            return false;
        };
        // What waits is for the batch that is about to take it.
        let full = self.taking == 0 && self.waiting.len() >= self.max_batch;
        let slow = now - first.queued_at >= SLOW_BATCH;
        self.running == 0 || ((full || slow) && self.running < self.max_running)
    }

    /// Takes the queries that wait now for `batch`, up to a full batch, with their jobs. Each is taken once, or
    /// given up by its caller, never both.
    pub fn take(&mut self, batch: &mut RunningBatch, now: Instant) -> Vec<(Q, Job<Q, A>)> {
        if !mem::replace(&mut batch.has_taken, true) {
            self.taking -= 1;
        }
        let mut jobs = Vec::with_capacity(self.waiting.len().min(self.max_batch));
        while jobs.len() < self.max_batch
            && let Some(job) = self.waiting.pop_front()
        {
            if !job.is_expired(now)
                && let Some(query) = job.query.take()
            {
                jobs.push((query, job));
            }
        }
        jobs
    }

    /// Ends `batch`, which may have taken nothing.
    pub fn end(&mut self, batch: &RunningBatch) {
        self.running -= 1;
        self.taking -= usize::from(!batch.has_taken);
    }
}

impl<Q, A> Job<Q, A> {
    fn is_expired(&self, now: Instant) -> bool {
        self.deadline <= now || self.recipient.is_gone()
    }
}

#[cfg(test)]
impl<Q, A> Queue<Q, A> {
    /// Whether no call waits and no batch runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0 && self.taking == 0
    }
}

#[cfg(test)]
mod tests;
