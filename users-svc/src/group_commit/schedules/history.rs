//! What batches and callers saw in one schedule, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::outcome::CallFailure;

/// What batches and callers saw.
#[derive(Default)]
pub struct History {
    /// The queries that each batch took.
    pub batches: Vec<Vec<u32>>,
    /// The queries of batches that panicked.
    pub lost: BTreeSet<u32>,
    /// How each call ended.
    pub ends: BTreeMap<u32, End>,
    executing: usize,
    most_executing: usize,
}

/// How a call ended.
pub struct End {
    /// `None`: its caller left.
    pub answer: Option<Result<u32, CallFailure>>,
    /// Whether its time had run out.
    pub is_late: bool,
}

/// A history that threads write at the same time. The explorer does not switch where they do.
pub type SharedHistory = Arc<Mutex<History>>;

/// A batch that executes, until this is dropped, as by a panic.
pub struct Executing(SharedHistory);

impl Executing {
    pub fn begin(history: &SharedHistory) -> Self {
        let mut seen = history.lock().unwrap();
        seen.executing += 1;
        seen.most_executing = seen.most_executing.max(seen.executing);
        Self(history.clone())
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.lock().unwrap().executing -= 1;
    }
}

/// What makes a schedule worth looking at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Event {
    Answered,
    NotExecuted,
    OutcomeUnknown,
    Left,
    CallsTogether,
    EmptyBatch,
    BatchesBesideEachOther,
}

/// What happened in some schedule.
pub type Tally = BTreeSet<Event>;

impl History {
    /// Panics when a call or a batch did what it must not do.
    pub fn check(&self, max_batch: usize, max_running: usize) {
        assert!(self.most_executing <= max_running, "too many batches run");
        for batch in &self.batches {
            assert!(batch.len() <= max_batch, "{batch:?} is too large");
        }
        for (query, end) in &self.ends {
            let taken = self.batches.iter().flatten();
            let executions = taken.filter(|taken| *taken == query).count();
            assert!(executions <= 1, "{query} is executed {executions} times");
            let is_executed = executions == 1;
            match end.answer {
                None => {}
                Some(Ok(answer)) => {
                    assert!(is_executed, "{query} is answered but not executed");
                    assert_eq!(answer, *query, "the answer is another call's");
                }
                Some(Err(CallFailure::NotExecuted)) => {
                    assert!(!is_executed, "{query} is executed");
                    assert!(end.is_late, "{query} is given up too early");
                }
                Some(Err(CallFailure::OutcomeUnknown)) => {
                    assert!(is_executed, "the outcome of {query} is known");
                    assert!(
                        end.is_late || self.lost.contains(query),
                        "{query} is not answered"
                    );
                }
            }
        }
    }

    pub fn events(&self) -> Tally {
        let ends = self.ends.values().map(|end| match end.answer {
            None => Event::Left,
            Some(Ok(_)) => Event::Answered,
            Some(Err(CallFailure::NotExecuted)) => Event::NotExecuted,
            Some(Err(CallFailure::OutcomeUnknown)) => Event::OutcomeUnknown,
        });
        let batches = self.batches.iter().filter_map(|batch| match batch.len() {
            0 => Some(Event::EmptyBatch),
            1 => None,
            _ => Some(Event::CallsTogether),
        });
        let beside = (self.most_executing > 1).then_some(Event::BatchesBesideEachOther);
        ends.chain(batches).chain(beside).collect()
    }
}
