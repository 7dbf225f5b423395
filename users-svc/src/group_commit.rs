//! Group commit: calls that wait at the same time go to the database together.
//!
//! Under little load a batch is one call, and nothing waits for company. Under more, everything that
//! arrived while the last batch ran is the next one: the busier, the fewer commits per call.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, Histogram, gauge, histogram};
use service_runtime::trace::{Span, SpanKind, TraceContext};
use tokio::{
    sync::{mpsc, oneshot},
    task::{spawn_blocking, spawn_local},
    time::{Instant, sleep, timeout_at},
};

/// How long a call waits for the batch before it, before a second batch starts beside that one.
/// Longer would let one slow commit hold up everybody; shorter would split batches for nothing.
const PATIENCE: Duration = Duration::from_millis(10);

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

/// Queries `Q` that wait for their batch, from all threads of the process, and what answers them.
pub struct Queue<Q, A> {
    state: Mutex<State<Q, A>>,
    max_batch: usize,
    max_running: usize,
    seen: Seen,
    run: Box<dyn Fn(Vec<Q>) -> Answers<A> + Send + Sync>,
}

struct State<Q, A> {
    waiting: VecDeque<Job<Q, A>>,
    running: usize,
}

struct Job<Q, A> {
    query: Q,
    since: Instant,
    deadline: Instant,
    /// Set by whoever comes first: the batch that takes the job, or its caller who gives it up.
    claimed: Arc<AtomicBool>,
    /// The span that waits for the answer.
    trace: TraceContext,
    reply: Reply<A>,
    home: Home<A>,
}

type Reply<A> = oneshot::Sender<Result<A, Failure>>;
/// The way back to the thread that submitted a job.
type Home<A> = mpsc::UnboundedSender<Vec<(Reply<A>, Result<A, Failure>)>>;

/// What operators see of a queue.
struct Seen {
    name: &'static str,
    depth: Gauge,
    size: Histogram,
    duration: Histogram,
}

impl Seen {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            depth: gauge!("batch_queue_depth", "batch" => name),
            size: histogram!("batch_size", "batch" => name),
            duration: histogram!("batch_duration_seconds", "batch" => name),
        }
    }
}

/// A count as metrics take it.
fn gauged(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// One thread's way to submit queries to a [`Queue`].
pub struct Batcher<Q, A> {
    queue: Arc<Queue<Q, A>>,
    home: Home<A>,
    starting: Rc<Cell<bool>>,
    /// Whether someone comes again for what waits behind a batch.
    patient: Rc<Cell<bool>>,
}

impl<Q: Send + 'static, A: Send + 'static> Queue<Q, A> {
    /// Batches of at most `max_batch` queries are run by `run`, on the blocking pool. There is one at a
    /// time, and up to `max_running` when a full batch waits beside it or it takes long.
    ///
    /// The queue has no bound of its own: whoever submits keeps count.
    ///
    /// `name` says in metrics and traces what the batches do.
    pub fn new(
        name: &'static str,
        max_batch: usize,
        max_running: usize,
        run: impl Fn(Vec<Q>) -> Answers<A> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            running: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            max_batch,
            max_running,
            seen: Seen::new(name),
            run: Box::new(run),
        })
    }

    /// The next batch, if it is time for one.
    fn take(self: &Arc<Self>) -> Option<Batch<Q, A>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = Instant::now();
        // No work for callers that are gone or no longer wait.
        while state.waiting.front().is_some_and(|job| job.is_late(now)) {
            state.waiting.pop_front();
        }
        // Also when it is not yet time: a queue that only grows is what operators look for.
        self.seen.depth.set(gauged(state.waiting.len()));
        let first = state.waiting.front()?;
        let is_worth_another =
            state.waiting.len() >= self.max_batch || now - first.since >= PATIENCE;
        if state.running > 0 && !(is_worth_another && state.running < self.max_running) {
            return None;
        }
        let mut jobs = Vec::with_capacity(state.waiting.len().min(self.max_batch));
        while jobs.len() < self.max_batch
            && let Some(job) = state.waiting.pop_front()
        {
            if !job.is_late(now) && !job.claimed.swap(true, Ordering::Relaxed) {
                jobs.push(job);
            }
        }
        state.running += 1;
        self.seen.depth.set(gauged(state.waiting.len()));
        Some(Batch {
            queue: self.clone(),
            jobs,
        })
    }

    /// Starts the batches that are due, and tells whether something waits behind them.
    fn start(self: &Arc<Self>) -> bool {
        while let Some(first) = self.take() {
            let queue = self.clone();
            spawn_blocking(move || {
                first.run();
                while let Some(next) = queue.take() {
                    next.run();
                }
            });
        }
        !self.lock().waiting.is_empty()
    }
}

impl<Q, A> Queue<Q, A> {
    fn lock(&self) -> MutexGuard<'_, State<Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Job<Q, A> {
    fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now || self.reply.is_closed()
    }
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Call it on a thread that runs a tokio local runtime; it lasts as long as the runtime.
    pub fn new(queue: Arc<Queue<Q, A>>) -> Self {
        let (home, mut answered): (Home<A>, _) = mpsc::unbounded_channel();
        spawn_local(async move {
            // One wake-up of this thread for all that a batch answered it.
            while let Some(answers) = answered.recv().await {
                for (reply, answer) in answers {
                    // A caller that is gone does not need its answer.
                    let _ = reply.send(answer);
                }
            }
        });
        Self {
            queue,
            home,
            starting: Rc::default(),
            patient: Rc::default(),
        }
    }

    /// Runs `query` with a batch and returns its answer, or a failure when `deadline` passes.
    ///
    /// `trace`: the span that it is done for.
    pub async fn submit(
        &self,
        query: Q,
        deadline: Instant,
        trace: TraceContext,
    ) -> Result<A, Failure> {
        let (reply, answer) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        self.queue.lock().waiting.push_back(Job {
            query,
            since: Instant::now(),
            deadline,
            claimed: claimed.clone(),
            trace,
            reply,
            home: self.home.clone(),
        });
        // Once for all that is submitted in this turn of the event loop.
        if !self.starting.replace(true) {
            let (starting, patient) = (self.starting.clone(), self.patient.clone());
            let queue = self.queue.clone();
            spawn_local(async move {
                starting.set(false);
                if queue.start() && !patient.replace(true) {
                    // A batch that ends takes what is due, and there may be none that does.
                    sleep(PATIENCE).await;
                    while queue.start() {
                        sleep(PATIENCE).await;
                    }
                    patient.set(false);
                }
            });
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            _ if !claimed.swap(true, Ordering::Relaxed) => Err(Failure::Overloaded),
            _ => Err(Failure::Unknown),
        }
    }
}

/// Jobs that go to the database together; counted as running until it is dropped.
struct Batch<Q, A> {
    queue: Arc<Queue<Q, A>>,
    jobs: Vec<Job<Q, A>>,
}

impl<Q, A> Batch<Q, A> {
    fn run(mut self) {
        let begin = Instant::now();
        let (mut queries, mut callers, mut traces) = (Vec::new(), Vec::new(), Vec::new());
        for job in self.jobs.drain(..) {
            queries.push(job.query);
            callers.push((job.home, job.reply));
            traces.extend(job.trace.sampled.then_some(job.trace));
        }
        let seen = &self.queue.seen;
        seen.size.record(gauged(queries.len()));
        // It belongs to many traces, so it is one of its own and refers to them.
        let span =
            (!traces.is_empty()).then(|| Span::linked(seen.name, SpanKind::Client, None, &traces));
        // Dropping the replies answers `Unknown`.
        let Ok(answers) = catch_unwind(AssertUnwindSafe(|| (self.queue.run)(queries))) else {
            return tracing::error!("a batch panicked");
        };
        if let Some(span) = span {
            span.end();
        }
        seen.duration.record(begin.elapsed().as_secs_f64());
        let mut by_thread: Vec<(Home<A>, Vec<_>)> = Vec::new();
        for ((home, reply), answer) in callers.into_iter().zip(answers) {
            match by_thread.iter_mut().find(|(at, _)| at.same_channel(&home)) {
                Some((_, answers)) => answers.push((reply, answer)),
                None => by_thread.push((home, vec![(reply, answer)])),
            }
        }
        for (home, answers) in by_thread {
            // A thread that is gone has no callers left.
            let _ = home.send(answers);
        }
    }
}

impl<Q, A> Drop for Batch<Q, A> {
    fn drop(&mut self) {
        self.queue.lock().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use futures::future::join_all;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// A queue whose batches tell their queries and then wait to be let go, and both ends of that.
    fn held(max_running: usize) -> (Arc<Queue<u32, u32>>, blocking::Receiver<Vec<u32>>, Gate) {
        let (tell, told) = blocking::channel();
        let (gate, wait) = blocking::channel();
        let wait = Mutex::new(wait);
        let queue = Queue::new("test", 4, max_running, move |queries: Vec<u32>| {
            tell.send(queries.clone()).unwrap();
            let go: bool = wait.lock().unwrap().recv().unwrap();
            assert!(go, "a test lets this batch panic");
            queries.into_iter().map(Ok).collect()
        });
        (queue, told, gate)
    }

    type Gate = blocking::Sender<bool>;

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        runtime.unwrap().block_on(test);
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Submits each of `queries`, and lets the queue start what is due.
    async fn submit(
        batcher: &Rc<Batcher<u32, u32>>,
        queries: std::ops::Range<u32>,
        deadline: Instant,
    ) -> Vec<tokio::task::JoinHandle<Result<u32, Failure>>> {
        let submit = |query| {
            let batcher = batcher.clone();
            spawn_local(async move { batcher.submit(query, deadline, TraceContext::fresh()).await })
        };
        let submitted = queries.map(submit).collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        submitted
    }

    /// The next batch, while the event loop turns.
    async fn eventually(told: &blocking::Receiver<Vec<u32>>) -> Vec<u32> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(batch) = told.try_recv() {
                return batch;
            }
            assert!(Instant::now() < end, "no batch starts");
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn answers(
        submitted: Vec<tokio::task::JoinHandle<Result<u32, Failure>>>,
    ) -> Answers<u32> {
        let answers = join_all(submitted).await;
        answers.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn what_waits_during_a_batch_is_the_next_one() {
        block_on(async {
            let (queue, told, gate) = held(1);
            let batcher = Rc::new(Batcher::new(queue));
            let first = submit(&batcher, 0..1, in_a_minute()).await;
            assert_eq!(told.recv().unwrap(), [0]);
            let second = submit(&batcher, 1..4, in_a_minute()).await;
            assert!(told.try_recv().is_err());
            gate.send(true).unwrap();
            assert_eq!(told.recv().unwrap(), [1, 2, 3]);
            gate.send(true).unwrap();
            assert_eq!(answers(first).await, [Ok(0)]);
            assert_eq!(answers(second).await, [Ok(1), Ok(2), Ok(3)]);
        });
    }

    #[test]
    fn a_full_batch_or_a_long_wait_starts_a_second_one_and_no_third() {
        block_on(async {
            let (queue, told, gate) = held(2);
            let batcher = Rc::new(Batcher::new(queue));
            let mut all = submit(&batcher, 0..1, in_a_minute()).await;
            assert_eq!(told.recv().unwrap(), [0]);
            all.extend(submit(&batcher, 1..6, in_a_minute()).await);
            assert_eq!(told.recv().unwrap(), [1, 2, 3, 4]);
            std::thread::sleep(2 * PATIENCE);
            all.extend(submit(&batcher, 6..9, in_a_minute()).await);
            assert!(told.try_recv().is_err(), "two run already");
            for _ in 0..3 {
                gate.send(true).unwrap();
            }
            assert_eq!(told.recv().unwrap(), [5, 6, 7, 8]);
            assert_eq!(answers(all).await.len(), 9);

            let slow = submit(&batcher, 0..1, in_a_minute()).await;
            assert_eq!(told.recv().unwrap(), [0]);
            let begin = Instant::now();
            let late = submit(&batcher, 1..3, in_a_minute()).await;
            // Although nobody else submits anything.
            assert_eq!(eventually(&told).await, [1, 2]);
            assert!(begin.elapsed() >= PATIENCE);
            // And when the batch that ends does so too early for what came last.
            let last = submit(&batcher, 3..4, in_a_minute()).await;
            gate.send(true).unwrap();
            assert_eq!(eventually(&told).await, [3]);
            gate.send(true).unwrap();
            gate.send(true).unwrap();
            assert_eq!(answers(slow).await, [Ok(0)]);
            assert_eq!(answers(late).await, [Ok(1), Ok(2)]);
            assert_eq!(answers(last).await, [Ok(3)]);
        });
    }

    #[test]
    fn a_deadline_in_the_queue_means_never_run_and_in_a_batch_unknown() {
        block_on(async {
            let (queue, told, gate) = held(1);
            let batcher = Rc::new(Batcher::new(queue));
            let soon = Instant::now() + Duration::from_millis(50);
            let running = submit(&batcher, 0..1, soon).await;
            assert_eq!(told.recv().unwrap(), [0]);
            let queued = submit(&batcher, 1..2, soon).await;
            assert_eq!(answers(running).await, [Err(Failure::Unknown)]);
            assert_eq!(answers(queued).await, [Err(Failure::Overloaded)]);
            let next = submit(&batcher, 2..3, in_a_minute()).await;
            gate.send(true).unwrap();
            assert_eq!(told.recv().unwrap(), [2], "1 was given up");
            gate.send(true).unwrap();
            assert_eq!(answers(next).await, [Ok(2)]);
        });
    }

    #[test]
    fn a_batch_that_panics_is_unknown_and_the_next_one_runs() {
        block_on(async {
            let (queue, told, gate) = held(1);
            let batcher = Rc::new(Batcher::new(queue));
            let first = submit(&batcher, 0..2, in_a_minute()).await;
            told.recv().unwrap();
            let second = submit(&batcher, 2..3, in_a_minute()).await;
            gate.send(false).unwrap();
            gate.send(true).unwrap();
            assert_eq!(answers(first).await, [Err(Failure::Unknown); 2]);
            assert_eq!(answers(second).await, [Ok(2)]);
        });
    }
}
