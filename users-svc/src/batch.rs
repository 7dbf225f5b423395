//! Group commit: calls that wait at the same time go to the database together.
//!
//! Under little load a batch is one call, and nothing waits for company. Under more, everything
//! that arrived while the last batches ran is the next one.

use std::{cell::Cell, rc::Rc, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{spawn_blocking, spawn_local},
    time::{Instant, timeout_at},
};

/// Why a call brought no outcome. Exactly the two exceptions that leave the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Nothing was written; the caller may try again.
    #[error("nothing was written; try again later")]
    Overloaded,
    /// The write may or may not have happened.
    #[error("the outcome is not known; repeat with the same id")]
    Unknown,
}

/// What a batch came to: one answer for each of its queries, in their order.
pub type Answers<A> = Vec<Result<A, Failure>>;

/// Gathers queries `Q` into batches and hands out the answers `A`. Lives on one thread; the batches
/// run on the blocking pool.
pub struct Batcher<Q, A> {
    queue: mpsc::UnboundedSender<Job<Q, A>>,
}

struct Job<Q, A> {
    query: Q,
    deadline: Instant,
    started: Rc<Cell<bool>>,
    reply: oneshot::Sender<Result<A, Failure>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Batches of at most `max_batch` queries, each run by `run` while it holds one of the `runners`,
    /// which batchers of other threads may share.
    ///
    /// The queue has no bound of its own: whoever submits keeps count.
    pub fn new<R>(max_batch: usize, runners: Arc<Semaphore>, run: R) -> Self
    where
        R: Fn(Vec<Q>) -> Answers<A> + Clone + Send + 'static,
    {
        let (queue, jobs) = mpsc::unbounded_channel();
        spawn_local(gather(jobs, max_batch, runners, run));
        Self { queue }
    }

    /// Runs `query` with a batch and returns its answer, or a failure when `deadline` passes.
    pub async fn submit(&self, query: Q, deadline: Instant) -> Result<A, Failure> {
        let (reply, answer) = oneshot::channel();
        let started = Rc::new(Cell::new(false));
        let job = Job {
            query,
            deadline,
            started: started.clone(),
            reply,
        };
        self.queue.send(job).map_err(|_| Failure::Overloaded)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            // Still queued: dropping the other end of `reply` takes it out.
            _ if !started.get() => Err(Failure::Overloaded),
            _ => Err(Failure::Unknown),
        }
    }
}

async fn gather<Q: Send + 'static, A: Send + 'static, R>(
    mut jobs: mpsc::UnboundedReceiver<Job<Q, A>>,
    max_batch: usize,
    runners: Arc<Semaphore>,
    run: R,
) where
    R: Fn(Vec<Q>) -> Answers<A> + Clone + Send + 'static,
{
    while let Some(first) = jobs.recv().await {
        // The queue fills while all runners are busy; that is what makes the batch.
        let Ok(runner) = runners.clone().acquire_owned().await else {
            return;
        };
        let (mut queries, mut replies) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(job) = next {
            // No work for a caller that is gone or no longer waits.
            if !job.reply.is_closed() && job.deadline > Instant::now() {
                job.started.set(true);
                queries.push(job.query);
                replies.push(job.reply);
            }
            next = if queries.len() < max_batch {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        if !queries.is_empty() {
            spawn_local(run_batch(run.clone(), queries, replies, runner));
        }
    }
}

async fn run_batch<Q: Send + 'static, A: Send + 'static>(
    run: impl FnOnce(Vec<Q>) -> Answers<A> + Send + 'static,
    queries: Vec<Q>,
    replies: Vec<oneshot::Sender<Result<A, Failure>>>,
    runner: OwnedSemaphorePermit,
) {
    let batch = spawn_blocking(move || {
        let answers = run(queries);
        drop(runner);
        answers
    });
    match batch.await {
        Ok(answers) => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A caller that is gone does not need its answer.
                let _ = reply.send(answer);
            }
        }
        // Dropping the replies answers `Unknown`.
        Err(error) => tracing::error!(%error, "a batch panicked"),
    }
}
