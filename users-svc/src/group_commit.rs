//! Group commit: calls that wait at the same time go to the database together.
//!
//! Under little load a batch is one call, and nothing waits for company. Under more, everything that
//! arrived while the last batch ran is the next one: the busier, the fewer commits per call.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{mem, rc::Rc, sync::Arc, time::Duration};

use parking_lot::Mutex;
use service_runtime::trace::TraceContext;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::batch_kind::{self, BatchKind};
use crate::batch_metrics::BatchMetrics;
use crate::claim::Claim;
use crate::outcome::{BatchResults, CallFailure};

/// How long a call waits for the batch before it until a second batch starts beside that one. Longer
/// lets one slow commit hold up everybody; shorter splits batches for nothing.
const SLOW_BATCH: Duration = Duration::from_millis(10);

/// A queue of calls `Q` from all threads of the process, and the statement that answers batches of them.
pub struct GroupCommit<Q, A> {
    kind: BatchKind,
    queue: Mutex<Queue<Q, A>>,
    max_batch: usize,
    max_running: usize,
    metrics: BatchMetrics,
    execute: Box<Execute<Q, A>>,
}

/// Takes the queries of a batch out of the queue, which may be none. It is called once, when there is a
/// connection for them, so that a call whose time runs out before has not been executed.
pub type Take<'a, Q> = &'a mut dyn FnMut() -> Vec<Q>;
type Execute<Q, A> = dyn Fn(Take<Q>) -> BatchResults<A> + Send + Sync;

/// The calls that wait, and the batches that run.
struct Queue<Q, A> {
    waiting: VecDeque<Job<Q, A>>,
    running: usize,
    /// Those of the running batches that have yet to take their calls.
    taking: usize,
}

/// A call that waits for its batch.
struct Job<Q, A> {
    /// Taken by the batch, or given up by the caller.
    query: Claim<Q>,
    queued_at: Instant,
    deadline: Instant,
    /// The span that waits for the answer.
    trace: TraceContext,
    /// Where the answer goes: by way of the caller's thread, to the caller.
    thread: AnswerSender<A>,
    reply: Reply<A>,
}

type Reply<A> = oneshot::Sender<Result<A, CallFailure>>;
type AnswerSender<A> = mpsc::UnboundedSender<Vec<(Reply<A>, Result<A, CallFailure>)>>;

impl<Q: Send + 'static, A: Send + 'static> GroupCommit<Q, A> {
    /// Batches of at most `max_batch` queries are run by `execute`, on the blocking pool: one at a time,
    /// and up to `max_running` when a full batch waits beside it or it is slow. `kind` says what they do.
    ///
    /// The queue itself is unbounded: limit the calls in flight.
    pub fn new(
        kind: impl Into<BatchKind>,
        max_batch: usize,
        max_running: usize,
        execute: impl Fn(Take<Q>) -> BatchResults<A> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let kind = kind.into();
        Arc::new(Self {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                running: 0,
                taking: 0,
            }),
            max_batch,
            max_running,
            metrics: BatchMetrics::new(kind.name),
            kind,
            execute: Box::new(execute),
        })
    }

    /// Starts the batches that are due. Returns whether calls still wait behind them.
    fn start_due_batches(self: &Arc<Self>) -> bool {
        while let Some(first) = self.next_batch() {
            let group_commit = self.clone();
            spawn_blocking(move || {
                first.run();
                while let Some(next) = group_commit.next_batch() {
                    next.run();
                }
            });
        }
        !self.queue.lock().waiting.is_empty()
    }

    /// The next batch, if one is due.
    fn next_batch(self: &Arc<Self>) -> Option<Batch<Q, A>> {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        queue.drop_expired(now);
        // Also when no batch is due: a queue that only grows is what operators look for.
        self.metrics.waiting(queue.waiting.len());
        if !self.is_due(&queue, now) {
            return None;
        }

        queue.running += 1;
        queue.taking += 1;
        Some(Batch {
            group_commit: self.clone(),
            has_taken: false,
        })
    }

    /// Whether a batch is to start: the only one, or another beside a full queue or a slow batch.
    fn is_due(&self, queue: &Queue<Q, A>, now: Instant) -> bool {
        let Some(first) = queue.waiting.front() else {
            return false;
        };
        // What waits is for the batch that is about to take it.
        let full = queue.taking == 0 && queue.waiting.len() >= self.max_batch;
        let slow = now - first.queued_at >= SLOW_BATCH;
        queue.running == 0 || ((full || slow) && queue.running < self.max_running)
    }
}

impl<Q, A> Queue<Q, A> {
    /// Drops the jobs at the front whose callers are gone or no longer wait.
    fn drop_expired(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|job| job.is_expired(now)) {
            self.waiting.pop_front();
        }
    }

    /// Takes up to `most` queries for a batch, with their jobs. Each is taken once, or given up by its caller,
    /// never both.
    fn claim(&mut self, most: usize, now: Instant) -> Vec<(Q, Job<Q, A>)> {
        let mut jobs = Vec::with_capacity(self.waiting.len().min(most));
        while jobs.len() < most
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
}

impl<Q, A> Job<Q, A> {
    fn is_expired(&self, now: Instant) -> bool {
        self.deadline <= now || self.reply.is_closed()
    }
}

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
        let (answers, mut answered): (AnswerSender<A>, _) = mpsc::unbounded_channel();
        spawn_local(async move {
            // One wake-up of this thread for all the answers of a batch.
            while let Some(answers) = answered.recv().await {
                for (reply, answer) in answers {
                    // The caller may be gone.
                    let _ = reply.send(answer);
                }
            }
        });
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
        self.group_commit.queue.lock().waiting.push_back(Job {
            query,
            queued_at: Instant::now(),
            deadline,
            trace,
            thread: self.answers.clone(),
            reply,
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
                () = submitted.notified() => {}
                _ = recheck.tick() => {}
            }
        }
    }
}

/// Jobs that go to the database together. Counts as running until it is dropped.
struct Batch<Q, A> {
    group_commit: Arc<GroupCommit<Q, A>>,
    has_taken: bool,
}

impl<Q, A> Batch<Q, A> {
    /// Executes the queries and answers their callers.
    fn run(mut self) {
        let begin = Instant::now();
        let group_commit = self.group_commit.clone();
        let (mut callers, mut span) = (Vec::new(), None);
        let mut take = || {
            let mut traces = Vec::new();
            let take = |(query, job): (Q, Job<Q, A>)| {
                callers.push((job.thread, job.reply));
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
            // Dropping the callers tells them that the outcome is unknown.
            return tracing::error!("a batch panicked");
        };

        batch_kind::end_span(span, &results);
        group_commit.metrics.ended(begin.elapsed());
        answer(callers, results);
    }

    /// Takes the jobs that wait now.
    fn take(&mut self) -> Vec<(Q, Job<Q, A>)> {
        let GroupCommit { queue, metrics, .. } = &*self.group_commit;
        let mut queue = queue.lock();
        if !mem::replace(&mut self.has_taken, true) {
            queue.taking -= 1;
        }
        let now = Instant::now();
        let jobs = queue.claim(self.group_commit.max_batch, now);
        metrics.waiting(queue.waiting.len());
        if let Some((_, oldest)) = jobs.first() {
            metrics.taken(jobs.len(), now.duration_since(oldest.queued_at));
        }
        jobs
    }
}

impl<Q, A> Drop for Batch<Q, A> {
    fn drop(&mut self) {
        let mut queue = self.group_commit.queue.lock();
        queue.running -= 1;
        queue.taking -= usize::from(!self.has_taken);
    }
}

/// Sends each thread the answers to its callers, all at once.
fn answer<A>(callers: Vec<(AnswerSender<A>, Reply<A>)>, results: BatchResults<A>) {
    let mut by_thread: Vec<(AnswerSender<A>, Vec<_>)> = Vec::new();
    for ((thread, reply), result) in callers.into_iter().zip(results) {
        let mut known = by_thread.iter_mut();
        match known.find(|(known, _)| known.same_channel(&thread)) {
            Some((_, answers)) => answers.push((reply, result)),
            None => by_thread.push((thread, vec![(reply, result)])),
        }
    }
    for (thread, answers) in by_thread {
        // A thread that has ended has no callers left.
        let _ = thread.send(answers);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use futures::future::join_all;
    use tokio::{runtime::LocalRuntime, time::sleep};

    use super::*;

    /// A group commit whose batches report their queries and then wait at a gate; `false` lets one panic.
    fn gated(
        max_running: usize,
    ) -> (
        Arc<GroupCommit<u32, u32>>,
        blocking::Receiver<Vec<u32>>,
        Gate,
    ) {
        let (report, batches) = blocking::channel();
        let (gate, wait) = blocking::channel();
        let wait = Mutex::new(wait);
        let group_commit = GroupCommit::new("test", 4, max_running, move |take: Take<u32>| {
            let queries = take();
            report.send(queries.clone()).unwrap();
            let go: bool = wait.lock().recv().unwrap();
            assert!(go, "a test lets this batch panic");
            queries.into_iter().map(Ok).collect()
        });
        (group_commit, batches, gate)
    }

    type Gate = blocking::Sender<bool>;

    fn block_on(test: impl Future<Output = ()>) {
        LocalRuntime::new().unwrap().block_on(test);
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Submits each of `queries`, and lets the queue start what is due.
    async fn submit(
        handle: &Rc<Handle<u32, u32>>,
        queries: std::ops::Range<u32>,
        deadline: Instant,
    ) -> Vec<tokio::task::JoinHandle<Result<u32, CallFailure>>> {
        let submit = |query| {
            let handle = handle.clone();
            spawn_local(async move { handle.submit(query, deadline, TraceContext::fresh()).await })
        };
        let submitted = queries.map(submit).collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        submitted
    }

    /// The next batch, while the event loop turns.
    async fn next_batch(batches: &blocking::Receiver<Vec<u32>>) -> Vec<u32> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(batch) = batches.try_recv() {
                return batch;
            }
            assert!(Instant::now() < end, "no batch starts");
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn answers(
        submitted: Vec<tokio::task::JoinHandle<Result<u32, CallFailure>>>,
    ) -> BatchResults<u32> {
        let answers = join_all(submitted).await;
        answers.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn calls_that_wait_during_a_batch_are_the_next_batch() {
        block_on(async {
            let (group_commit, batches, gate) = gated(1);
            let handle = Rc::new(Handle::new(group_commit));
            let first = submit(&handle, 0..1, in_a_minute()).await;
            assert_eq!(batches.recv().unwrap(), [0]);

            let second = submit(&handle, 1..4, in_a_minute()).await;
            assert!(batches.try_recv().is_err());
            gate.send(true).unwrap();

            assert_eq!(batches.recv().unwrap(), [1, 2, 3]);
            gate.send(true).unwrap();
            assert_eq!(answers(first).await, [Ok(0)]);
            assert_eq!(answers(second).await, [Ok(1), Ok(2), Ok(3)]);
        });
    }

    #[test]
    fn full_batch_starts_beside_one_that_runs_and_no_third_does() {
        block_on(async {
            let (group_commit, batches, gate) = gated(2);
            let handle = Rc::new(Handle::new(group_commit));
            let mut all = submit(&handle, 0..1, in_a_minute()).await;
            assert_eq!(batches.recv().unwrap(), [0]);

            all.extend(submit(&handle, 1..6, in_a_minute()).await);
            assert_eq!(batches.recv().unwrap(), [1, 2, 3, 4]);
            std::thread::sleep(2 * SLOW_BATCH);
            all.extend(submit(&handle, 6..9, in_a_minute()).await);
            assert!(batches.try_recv().is_err(), "two run already");

            for _ in 0..3 {
                gate.send(true).unwrap();
            }
            assert_eq!(batches.recv().unwrap(), [5, 6, 7, 8]);
            assert_eq!(answers(all).await.len(), 9);
        });
    }

    #[test]
    fn slow_batch_is_overtaken_although_nothing_else_is_submitted() {
        block_on(async {
            let (group_commit, batches, gate) = gated(2);
            let handle = Rc::new(Handle::new(group_commit));
            let slow = submit(&handle, 0..1, in_a_minute()).await;
            assert_eq!(batches.recv().unwrap(), [0]);

            let begin = Instant::now();
            let late = submit(&handle, 1..3, in_a_minute()).await;

            assert_eq!(next_batch(&batches).await, [1, 2]);
            assert!(begin.elapsed() >= SLOW_BATCH);
            gate.send(true).unwrap();
            gate.send(true).unwrap();
            assert_eq!(answers(slow).await, [Ok(0)]);
            assert_eq!(answers(late).await, [Ok(1), Ok(2)]);
        });
    }

    #[test]
    fn call_that_came_too_late_for_an_ending_batch_overtakes_the_slow_one() {
        block_on(async {
            let (group_commit, batches, gate) = gated(2);
            let handle = Rc::new(Handle::new(group_commit));
            let mut all = submit(&handle, 0..1, in_a_minute()).await;
            assert_eq!(batches.recv().unwrap(), [0]);
            all.extend(submit(&handle, 1..2, in_a_minute()).await);
            assert_eq!(next_batch(&batches).await, [1]);

            all.extend(submit(&handle, 2..3, in_a_minute()).await);
            // One of two ends before the call has waited long enough for it.
            gate.send(true).unwrap();

            assert_eq!(next_batch(&batches).await, [2]);
            gate.send(true).unwrap();
            gate.send(true).unwrap();
            assert_eq!(answers(all).await, [Ok(0), Ok(1), Ok(2)]);
        });
    }

    #[test]
    fn deadline_means_not_executed_in_the_queue_and_unknown_in_a_batch() {
        block_on(async {
            let (group_commit, batches, gate) = gated(1);
            let handle = Rc::new(Handle::new(group_commit));
            let soon = Instant::now() + Duration::from_millis(50);
            let running = submit(&handle, 0..1, soon).await;
            assert_eq!(batches.recv().unwrap(), [0]);
            let queued = submit(&handle, 1..2, soon).await;
            assert_eq!(answers(running).await, [Err(CallFailure::OutcomeUnknown)]);
            assert_eq!(answers(queued).await, [Err(CallFailure::NotExecuted)]);
            let next = submit(&handle, 2..3, in_a_minute()).await;
            gate.send(true).unwrap();
            assert_eq!(batches.recv().unwrap(), [2], "1 was given up");
            gate.send(true).unwrap();
            assert_eq!(answers(next).await, [Ok(2)]);
        });
    }

    #[test]
    fn call_whose_time_runs_out_before_its_batch_has_a_connection_is_not_executed() {
        block_on(async {
            let (connect, connected) = blocking::channel();
            let (report, batches) = blocking::channel();
            let connected = Mutex::new(connected);
            let group_commit = GroupCommit::new("test", 4, 1, move |take: Take<u32>| {
                let () = connected.lock().recv().unwrap();
                let queries = take();
                report.send(queries.clone()).unwrap();
                queries.into_iter().map(Ok).collect()
            });
            let handle = Rc::new(Handle::new(group_commit));
            let soon = Instant::now() + Duration::from_millis(30);
            let late = submit(&handle, 0..1, soon).await;
            let in_time = submit(&handle, 1..3, in_a_minute()).await;
            assert_eq!(answers(late).await, [Err(CallFailure::NotExecuted)]);

            connect.send(()).unwrap();

            assert_eq!(answers(in_time).await, [Ok(1), Ok(2)]);
            assert_eq!(batches.recv().unwrap(), [1, 2]);
        });
    }

    #[test]
    fn query_of_a_call_that_is_given_up_is_not_kept() {
        block_on(async {
            let group_commit = GroupCommit::new("test", 4, 0, |take: Take<Arc<()>>| {
                take().into_iter().map(|_| Ok(())).collect()
            });
            let handle = Rc::new(Handle::new(group_commit));
            let text = Arc::new(());
            let submit = handle.submit(text.clone(), in_a_minute(), TraceContext::fresh());
            // The queue begins no batch before its thread has a turn.
            let mut submit = Box::pin(submit);
            assert!(futures::poll!(&mut submit).is_pending());
            assert_eq!(Arc::strong_count(&text), 2);

            drop(submit);

            assert_eq!(Arc::strong_count(&text), 1);
        });
    }

    #[test]
    fn panicking_batch_is_unknown_and_the_next_one_runs() {
        block_on(async {
            let (group_commit, batches, gate) = gated(1);
            let handle = Rc::new(Handle::new(group_commit));
            let first = submit(&handle, 0..2, in_a_minute()).await;
            batches.recv().unwrap();
            let second = submit(&handle, 2..3, in_a_minute()).await;
            gate.send(false).unwrap();
            gate.send(true).unwrap();
            assert_eq!(answers(first).await, [Err(CallFailure::OutcomeUnknown); 2]);
            assert_eq!(answers(second).await, [Ok(2)]);
        });
    }
}
