//! The group commit on threads and a clock as they are.

use std::sync::mpsc as blocking;
use std::{rc::Rc, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use service_runtime::trace::TraceContext;
use tokio::task::spawn_local;
use tokio::{
    runtime::LocalRuntime,
    time::{Instant, sleep},
};

use super::queue::SLOW_BATCH;
use super::{Arc, BatchResults, GroupCommit, Handle, Take};
use crate::outcome::CallFailure;

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
fn thread_looks_again_only_while_a_call_waits() {
    block_on(async {
        let (group_commit, batches, gate) = gated(1);
        let handle = Rc::new(Handle::new(group_commit.clone()));
        assert!(!group_commit.start_due_batches(), "there are none");
        let mut all = submit(&handle, 0..1, in_a_minute()).await;
        assert_eq!(batches.recv().unwrap(), [0]);
        assert!(!group_commit.start_due_batches(), "it is in a batch");

        all.extend(submit(&handle, 1..2, in_a_minute()).await);

        assert!(group_commit.start_due_batches());
        gate.send(true).unwrap();
        gate.send(true).unwrap();
        assert_eq!(answers(all).await, [Ok(0), Ok(1)]);
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
fn no_batch_starts_for_a_call_that_is_given_up() {
    block_on(async {
        let (group_commit, _batches, _gate) = gated(1);
        let handle = Rc::new(Handle::new(group_commit.clone()));
        let mut submit = Box::pin(handle.submit(0, in_a_minute(), TraceContext::fresh()));
        assert!(futures::poll!(&mut submit).is_pending());

        drop(submit);

        assert!(group_commit.next_batch().is_none());
    });
}

#[test]
fn calls_that_are_given_up_do_not_pile_up_behind_one_that_waits() {
    block_on(async {
        let (group_commit, _batches, _gate) = gated(1);
        let handle = Rc::new(Handle::new(group_commit.clone()));
        let submit = |query| Box::pin(handle.submit(query, in_a_minute(), TraceContext::fresh()));
        let mut first = submit(0);
        assert!(futures::poll!(&mut first).is_pending());
        let mut waiting = submit(1);

        for query in 2..10_000 {
            let mut given_up = submit(query);
            assert!(futures::poll!(&mut given_up).is_pending());
            if query == 5_000 {
                assert!(futures::poll!(&mut waiting).is_pending());
            }
        }

        // The two that wait are among them.
        let mut queue = group_commit.queue.lock();
        assert!(queue.waiting() <= 1024, "{}", queue.waiting());
        let mut running = queue.start_batch(Instant::now()).unwrap();
        let taken = queue.take(&mut running, Instant::now());
        assert_eq!(
            taken.iter().map(|(query, _)| *query).collect::<Vec<_>>(),
            [0, 1]
        );
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
