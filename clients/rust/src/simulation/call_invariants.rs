//! The invariants of calls: how often they are sent, when they end, and whether what their callers learn is true.

use std::collections::{BTreeMap, BTreeSet};

use super::invariants::{RecordedStory, Violation, holds};
use super::trace::{CallId, CallRequest, Event, Outcome};
use crate::retry::MAX_RETRIES;
use crate::retry_budget::{BURST, SHARE};

/// Per call by their number, and per client by the budget: what is saved up for a burst, and the share that each call
/// pays for.
pub fn retries_are_limited(story: &RecordedStory) -> Result<(), Violation> {
    let mut attempts = vec![0; story.calls.len()];
    let mut budgets = vec![BURST; story.clients];
    for (at, event) in story.events {
        match event {
            Event::CallBegun { client, .. } => budgets[*client] += SHARE,
            Event::Attempted { call, .. } => {
                attempts[*call] += 1;
                let (count, client) = (attempts[*call], story.calls[*call].client);
                holds(count <= 1 + MAX_RETRIES, || {
                    format!("call {call}: {count} attempts")
                })?;
                budgets[client] -= if count > 1 { 1.0 } else { 0.0 };
                holds(budgets[client] >= 0.0, || {
                    format!("client {client} retries beyond its budget at {at:?}")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn deadlines_hold(story: &RecordedStory) -> Result<(), Violation> {
    for (at, call, outcome) in story.outcomes() {
        let deadline = story.calls[call].deadline;
        holds(at <= deadline, || {
            format!("call {call} ends at {at:?}, {outcome:?}, instead of {deadline:?}")
        })?;
    }
    for (at, call, _) in story.attempts() {
        let deadline = story.calls[call].deadline;
        holds(at < deadline, || {
            format!("call {call} is sent at {at:?}, and its deadline is {deadline:?}")
        })?;
    }
    let ended = story.outcomes().count();
    holds(ended == story.calls.len(), || "a call never ends".into())
}

pub fn not_executed_is_true(story: &RecordedStory) -> Result<(), Violation> {
    let executed: BTreeSet<_> = story
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Executed { call, .. } => Some(*call),
            _ => None,
        })
        .collect();
    for (at, call, outcome) in story.outcomes() {
        let nothing_was_done = matches!(outcome, Outcome::NotExecuted | Outcome::Unimplemented);
        holds(!(nothing_was_done && executed.contains(&call)), || {
            format!("call {call} at {at:?}")
        })?;
        holds(outcome != Outcome::Impossible, || {
            format!("call {call} has an outcome that no replica gives")
        })?;
    }
    Ok(())
}

/// Unless its answers may have been lost, or come late.
pub fn refusals_are_told(story: &RecordedStory) -> Result<(), Violation> {
    let mut unrefused = vec![0; story.calls.len()];
    for (at, event) in story.events {
        match event {
            Event::Fault(fault) if fault.loses_answers() => return Ok(()),
            Event::Attempted { call, .. } => unrefused[*call] += 1,
            Event::Refused { call, .. } => unrefused[*call] -= 1,
            Event::CallEnded {
                call,
                outcome: Outcome::Unknown,
            } => {
                let is_late = *at == story.calls[*call].deadline;
                holds(is_late || unrefused[*call] > 0, || {
                    format!("call {call} is unknown at {at:?}")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn replays_are_true(story: &RecordedStory) -> Result<(), Violation> {
    let user_of = |call: &CallId| story.calls[*call].request;
    let mut stored_by: BTreeMap<CallRequest, CallId> = BTreeMap::new();
    for (at, event) in story.events {
        match event {
            Event::Executed { call, .. } => {
                stored_by.entry(user_of(call)).or_insert(*call);
            }
            Event::CallEnded {
                call,
                outcome: outcome @ (Outcome::Stored | Outcome::Replayed),
            } => {
                let first = stored_by.get(&user_of(call));
                let is_true = match outcome {
                    Outcome::Replayed => first.is_some_and(|first| first != call),
                    _ => first.is_some(),
                };
                holds(is_true, || format!("call {call} is {outcome:?} at {at:?}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}
