//! What holds in every story, checked on its trace.

use std::time::Duration;

use super::call_invariants::{
    deadlines_hold, not_executed_is_true, refusals_are_told, replays_are_true, retries_are_limited,
};
use super::link_invariants::{
    calls_succeed_in_the_end, calls_that_come_together_stay_together, dials_are_bounded,
    every_replica_has_one_link, every_replica_is_used, silent_replica_is_avoided,
};
use super::trace::{CallId, CallRequest, ClientId, Event, Outcome, Phase, ReplicaId};

type Events = [(Duration, Event)];

/// Why a trace breaks an invariant, and which.
pub type Violation = String;

type Check = fn(&RecordedStory) -> Result<(), Violation>;

/// The invariants, and the check of each.
pub const INVARIANTS: [(&str, Check); 11] = [
    ("retries stay within their limits", retries_are_limited),
    ("no call ends or is sent after its deadline", deadlines_hold),
    (
        "what is reported as not executed never is",
        not_executed_is_true,
    ),
    (
        "a create that was only refused is not executed",
        refusals_are_told,
    ),
    ("a replay was stored by another call", replays_are_true),
    (
        "calls succeed once faults are over",
        calls_succeed_in_the_end,
    ),
    (
        "every live replica has one link in the end, and no other has any",
        every_replica_has_one_link,
    ),
    (
        "every live replica gets calls in the end",
        every_replica_is_used,
    ),
    (
        "calls that come together go to one replica",
        calls_that_come_together_stay_together,
    ),
    ("attempts to connect are bounded", dials_are_bounded),
    ("a silent replica is avoided", silent_replica_is_avoided),
];

/// A trace, with what the checks look up in it.
pub struct RecordedStory<'a> {
    pub events: &'a Events,
    /// By their numbers.
    pub calls: Vec<Call>,
    pub clients: usize,
}

/// A call, as its beginning says.
#[derive(Clone, Copy)]
pub struct Call {
    pub client: ClientId,
    pub request: CallRequest,
    pub begun_at: Duration,
    pub deadline: Duration,
}

impl<'a> RecordedStory<'a> {
    pub fn new(events: &'a Events) -> Self {
        let calls = events.iter().filter_map(|(at, event)| match event {
            Event::CallBegun {
                client,
                request,
                timeout,
                ..
            } => Some(Call {
                client: *client,
                request: *request,
                begun_at: *at,
                deadline: *at + *timeout,
            }),
            _ => None,
        });
        let calls: Vec<_> = calls.collect();
        let clients = calls.iter().map(|call| call.client + 1).max();
        Self {
            events,
            calls,
            clients: clients.unwrap_or(1),
        }
    }

    /// Checks all invariants.
    pub fn check(&self) -> Result<(), Violation> {
        for (name, check) in INVARIANTS {
            check(self).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    pub fn attempts(&self) -> impl Iterator<Item = (Duration, CallId, ReplicaId)> {
        self.events.iter().filter_map(|(at, event)| match event {
            Event::Attempted { call, replica } => Some((*at, *call, *replica)),
            _ => None,
        })
    }

    pub fn outcomes(&self) -> impl Iterator<Item = (Duration, CallId, Outcome)> {
        self.events.iter().filter_map(|(at, event)| match event {
            Event::CallEnded { call, outcome } => Some((*at, *call, *outcome)),
            _ => None,
        })
    }

    /// The replicas to which the names lead in the end.
    pub fn live(&self) -> &[ReplicaId] {
        let mut latest_first = self.events.iter().rev();
        let live = latest_first.find_map(|(_, event)| match event {
            Event::AddressesChanged(replicas) => Some(replicas),
            _ => None,
        });
        live.map_or(&[], Vec::as_slice)
    }

    /// When a phase begins.
    pub fn phase(&self, is_it: impl Fn(&Phase) -> bool) -> Option<Duration> {
        let is_it = |event: &Event| matches!(event, Event::Phase(phase) if is_it(phase));
        let phase = self.events.iter().find(|(_, event)| is_it(event));
        phase.map(|(at, _)| *at)
    }
}

pub fn holds(condition: bool, why: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(why()) }
}
