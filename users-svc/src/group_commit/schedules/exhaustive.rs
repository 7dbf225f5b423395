//! Two threads that meet in the group commit, in every order that there is.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_runtime::trace::TraceContext;
use shuttle::scheduler::DfsScheduler;
use tokio::sync::{mpsc, oneshot};

use super::super::answers::{AnswerSender, Recipient};
use super::super::queue::Job;
use super::super::{GroupCommit, Take};
use super::run;
use crate::claim::{Claim, Unclaimed};
use crate::outcome::CallFailure;
use crate::sync::{explored, now, spawn_blocking};

/// Runs `schedule` in every order, of which there are so many.
fn run_all(orders: usize, schedule: impl Fn() + Send + Sync + 'static) {
    let count = run(DfsScheduler::new(None, false), move || {
        explored::begin();
        schedule();
    });
    assert!(
        count == orders || env::var("SCHEDULE").is_ok(),
        "{count} orders"
    );
}

type Executed = Arc<Mutex<Vec<u32>>>;

/// A group commit of batches of one call, and the queries that they have executed.
fn group_commit() -> (Arc<GroupCommit<u32, u32>>, Executed) {
    let executed = Executed::default();
    let seen = executed.clone();
    let group_commit = GroupCommit::new("test", 1, 1, move |take: Take<u32>| {
        let queries = take();
        seen.lock().unwrap().extend(&queries);
        queries.into_iter().map(Ok).collect()
    });
    (group_commit, executed)
}

/// The caller's end of a call.
struct Caller {
    unclaimed: Unclaimed<u32>,
    _answer: oneshot::Receiver<Result<u32, CallFailure>>,
}

/// Puts a call into the queue, as a thread does, and leaves what follows to the test.
fn push(group_commit: &GroupCommit<u32, u32>, thread: &AnswerSender<u32>, query: u32) -> Caller {
    let (reply, answer) = oneshot::channel();
    let (query, unclaimed) = Claim::new(query);
    group_commit.queue.lock().push(Job {
        query,
        queued_at: now(),
        deadline: now() + Duration::from_secs(60),
        trace: TraceContext::fresh(),
        recipient: Recipient {
            thread: thread.clone(),
            reply,
        },
    });
    Caller {
        unclaimed,
        _answer: answer,
    }
}

#[test]
fn call_is_either_executed_or_given_up() {
    run_all(1975, || {
        let (group_commit, executed) = group_commit();
        let (thread, _answers) = mpsc::unbounded_channel();
        let caller = push(&group_commit, &thread, 0);
        group_commit.start_due_batches();

        let is_given_up = caller.unclaimed.take().is_some();

        explored::end();
        let executed = executed.lock().unwrap();
        assert_eq!(executed.is_empty(), is_given_up);
        assert!(group_commit.queue.lock().is_idle());
    });
}

#[test]
fn call_that_comes_when_a_batch_ends_is_in_the_next_one() {
    run_all(5525, || {
        let (group_commit, executed) = group_commit();
        let (thread, _answers) = mpsc::unbounded_channel();
        let _first = push(&group_commit, &thread, 0);
        let batch = group_commit.next_batch().unwrap();
        let batches = group_commit.clone();
        spawn_blocking(move || batches.run_batches(batch));

        let _second = push(&group_commit, &thread, 1);
        if let Some(batch) = group_commit.next_batch() {
            group_commit.run_batches(batch);
        }

        explored::end();
        assert_eq!(*executed.lock().unwrap(), [0, 1]);
        assert!(group_commit.queue.lock().is_idle());
    });
}
