//! One batch: calls that go to the database together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::queue::{Job, RunningBatch};
use super::{GroupCommit, answers};
use crate::batch_kind;
use crate::outcome::CallFailure;
use crate::sync::now;

/// Jobs that go to the database together. Counts as running until it is dropped.
pub struct Batch<Q, A> {
    group_commit: Arc<GroupCommit<Q, A>>,
    running: RunningBatch,
}

impl<Q: Send + 'static, A: Send + 'static> Batch<Q, A> {
    pub fn new(group_commit: Arc<GroupCommit<Q, A>>, running: RunningBatch) -> Self {
        Self {
            group_commit,
            running,
        }
    }

    /// Executes the queries and answers their callers.
    pub fn run(mut self) {
        let begin = now();
        let group_commit = self.group_commit.clone();
        let (mut recipients, mut span) = (Vec::new(), None);
        let mut take = || {
            let mut traces = Vec::new();
            let take = |(query, job): (Q, Job<Q, A>)| {
                recipients.push(job.recipient);
                traces.extend(job.trace.sampled.then_some(job.trace));
                query
            };
            let queries = self.take().into_iter().map(take).collect();
            span = (!traces.is_empty()).then(|| group_commit.kind.start_span(&traces));
            queries
        };

        let execute = AssertUnwindSafe(|| (group_commit.execute)(&mut take));
        let Ok(results) = catch_unwind(execute) else {
            batch_kind::end_span::<A>(span, &[Err(CallFailure::OutcomeUnknown)]);
            // Dropping the recipients tells them that the outcome is unknown.
            return tracing::error!("a batch panicked");
        };

        batch_kind::end_span(span, &results);
        group_commit.metrics.ended(now().duration_since(begin));
        answers::send(recipients, results);
    }

    /// Takes the jobs that wait now. What it leaves may be due for another batch.
    fn take(&mut self) -> Vec<(Q, Job<Q, A>)> {
        let metrics = &self.group_commit.metrics;
        let mut queue = self.group_commit.queue.lock();
        let now = now();
        let jobs = queue.take(&mut self.running, now);
        let waiting = queue.waiting();
        metrics.waiting(waiting);
        drop(queue);

        // One, which starts the next.
        if waiting > 0 {
            self.group_commit.start_batch();
        }
        if let Some((_, oldest)) = jobs.first() {
            metrics.taken(jobs.len(), now.duration_since(oldest.queued_at));
        }
        jobs
    }
}

impl<Q, A> Drop for Batch<Q, A> {
    fn drop(&mut self) {
        self.group_commit.queue.lock().end(&self.running);
    }
}
