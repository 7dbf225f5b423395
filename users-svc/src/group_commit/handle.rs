//! The side of the callers: one thread submits calls, and waits for their answers.

use std::{rc::Rc, sync::Arc};

use service_runtime::trace::TraceContext;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::GroupCommit;
use super::answers::{self, AnswerSender, Recipient};
use super::queue::{Job, SLOW_BATCH};
use crate::claim::Claim;
use crate::outcome::CallFailure;
use crate::sync::{interval, now, spawn_local, timeout_at};

/// One thread's handle to a [`GroupCommit`].
pub struct Handle<Q, A> {
    group_commit: Arc<GroupCommit<Q, A>>,
    submitted: Rc<Notify>,
    answers: AnswerSender<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Handle<Q, A> {
    /// Call it on a thread that runs a tokio local runtime; the handle lasts as long as the runtime.
    pub fn new(group_commit: Arc<GroupCommit<Q, A>>) -> Self {
        let submitted = Rc::new(Notify::new());
        spawn_local(start_batches(group_commit.clone(), submitted.clone()));
        let (answers, answered) = mpsc::unbounded_channel();
        spawn_local(answers::forward(answered));
        Self {
            group_commit,
            submitted,
            answers,
        }
    }

    /// Runs `query` with a batch and returns its answer, or a failure when `deadline` passes: of a
    /// query that no batch has taken, that it was not executed. `trace` is the span that waits.
    pub async fn submit(
        &self,
        query: Q,
        deadline: Instant,
        trace: TraceContext,
    ) -> Result<A, CallFailure> {
        let (reply, answer) = oneshot::channel();
        let (query, unclaimed) = Claim::new(query);
        let thread = self.answers.clone();
        self.group_commit.queue.lock().push(Job {
            query,
            queued_at: now(),
            deadline,
            trace,
            recipient: Recipient { thread, reply },
        });
        self.submitted.notify_one();

        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            _ if unclaimed.take().is_some() => Err(CallFailure::NotExecuted),
            _ => Err(CallFailure::OutcomeUnknown),
        }
    }
}

/// Starts batches for this thread: once for everything that is submitted in one turn of the event loop.
async fn start_batches<Q, A>(group_commit: Arc<GroupCommit<Q, A>>, submitted: Rc<Notify>)
where
    Q: Send + 'static,
    A: Send + 'static,
{
    let mut recheck = interval(SLOW_BATCH);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        submitted.notified().await;
        // A batch that ends takes what is due, but the batches that run may all be slow.
        while group_commit.start_due_batches() {
            tokio::select! {
                // Either means to look again, so neither needs chance to get its turn.
                biased;
                () = submitted.notified() => {}
                _ = recheck.tick() => {}
            }
        }
    }
}
