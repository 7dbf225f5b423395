//! Threads that submit calls at the same time, and what may happen to the batches and the callers meanwhile.

use std::mem;
use std::ops::Range;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use service_runtime::trace::TraceContext;
use shuttle::rand::{Rng, thread_rng};
use shuttle::{future, thread};
use tokio::time::Instant;

use super::super::queue::SLOW_BATCH;
use super::super::{GroupCommit, Handle, Take};
use super::history::{End, Executing, History, SharedHistory};
use crate::outcome::{BatchResults, CallFailure};
use crate::sync::{explored, now};

#[derive(Clone, Copy)]
pub struct Scenario {
    pub threads: u32,
    pub calls_per_thread: u32,
    pub max_batch: usize,
    pub max_running: usize,
    pub clock: Clock,
    /// Some batches panic, and some never take their calls.
    pub batches_fail: bool,
    /// Some callers leave before they have an answer.
    pub callers_leave: bool,
    /// The first batch ends when every call has been answered that is not in it.
    pub first_batch_is_last: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Clock {
    /// Nothing is slow or late, and nobody looks again by and by.
    Stands,
    /// It passes the deadlines of the calls, which are this many.
    Passes { deadlines: u32 },
    /// It runs until all calls are answered, and no deadline is near.
    Runs,
}

impl Scenario {
    /// Lets it all happen once, in the order that the explorer makes.
    pub fn run(self) -> History {
        explored::begin();
        let history = SharedHistory::default();
        let seen = history.clone();
        let execute = move |take: Take<u32>| self.execute(&seen, take);
        let group_commit = GroupCommit::new("test", self.max_batch, self.max_running, execute);
        let thread = |thread| {
            let first = thread * self.calls_per_thread;
            let queries = first..first + self.calls_per_thread;
            future::spawn_local(self.submit(queries, group_commit.clone(), history.clone()))
        };
        let threads: Vec<_> = (0..self.threads).map(thread).collect();
        self.move_clock(&history);

        // A call that nobody answers is a deadlock, which the explorer finds.
        for thread in threads {
            future::block_on(thread).unwrap();
        }
        explored::end();
        // The queue may keep calls that were left after someone last looked at it.
        assert!(group_commit.next_batch().is_none(), "a call is forgotten");
        assert!(
            group_commit.queue.lock().is_idle(),
            "a batch counts that has ended"
        );
        mem::take(&mut history.lock().unwrap())
    }

    fn calls(self) -> usize {
        (self.threads * self.calls_per_thread) as usize
    }

    fn move_clock(self, history: &SharedHistory) {
        let is_over = || history.lock().unwrap().ends.len() == self.calls();
        match self.clock {
            Clock::Stands => {}
            Clock::Passes { deadlines } => {
                for _ in 0..deadlines {
                    for _ in 0..thread_rng().gen_range(1..20) {
                        thread::yield_now();
                    }
                    explored::advance(SLOW_BATCH);
                }
            }
            Clock::Runs => {
                while !is_over() {
                    thread::yield_now();
                    explored::advance(SLOW_BATCH);
                }
            }
        }
    }

    /// Submits the calls of one thread, all at once, and waits for their ends.
    async fn submit(
        self,
        queries: Range<u32>,
        group_commit: Arc<GroupCommit<u32, u32>>,
        history: SharedHistory,
    ) {
        let handle = Handle::new(group_commit);
        let begin = now();
        let calls = queries.map(async |query| {
            let deadline = match self.clock {
                Clock::Passes { deadlines } => begin + SLOW_BATCH * (1 + query % deadlines),
                Clock::Stands | Clock::Runs => begin + Duration::from_secs(3600),
            };
            let answer = self.call(&handle, query, deadline).await;
            let is_late = deadline <= now();
            let end = End { answer, is_late };
            history.lock().unwrap().ends.insert(query, end);
        });
        join_all(calls).await;
    }

    /// One call, until it is answered or its caller leaves.
    async fn call(
        self,
        handle: &Handle<u32, u32>,
        query: u32,
        deadline: Instant,
    ) -> Option<Result<u32, CallFailure>> {
        let answer = handle.submit(query, deadline, TraceContext::fresh());
        if !self.callers_leave || thread_rng().gen_bool(0.5) {
            return Some(answer.await);
        }
        let leave = async {
            for _ in 0..thread_rng().gen_range(0..30) {
                future::yield_now().await;
            }
        };
        match select(pin!(answer), pin!(leave)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }

    /// Answers each query with itself, unless the batch is to fail.
    fn execute(self, history: &SharedHistory, take: Take<u32>) -> BatchResults<u32> {
        let _executing = Executing::begin(history);
        let fault = self.batches_fail.then(|| thread_rng().gen_range(0..8));
        match fault {
            Some(0) => fail_silently(),
            Some(1) => return Vec::new(),
            _ => {}
        }

        let queries = take();
        history.lock().unwrap().batches.push(queries.clone());
        thread::yield_now();
        if fault == Some(2) {
            history.lock().unwrap().lost.extend(&queries);
            fail_silently();
        }
        if self.first_batch_is_last && history.lock().unwrap().batches[0] == queries {
            while history.lock().unwrap().ends.len() + queries.len() < self.calls() {
                thread::yield_now();
            }
        }
        queries.into_iter().map(Ok).collect()
    }
}

/// A panic that is not reported as the failure of the test.
fn fail_silently() -> ! {
    resume_unwind(Box::new(()))
}
