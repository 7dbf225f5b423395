//! The invariants of links: replicas are found again after faults, linked once, used in turn by calls that come alone
//! and one at a time by those that come together, avoided when they are silent, and not dialled too often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bounds::{AVOIDED_AFTER, most_dials, quiet_dials};
use super::invariants::{Call, RecordedStory, Violation, holds};
use super::trace::{ClientId, Event, Outcome, Phase, ReplicaId};

fn succeeds(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Stored | Outcome::Replayed | Outcome::Read)
}

/// From the end of recovery on, apart from those that meet the replica that falls silent before it is avoided.
pub fn calls_succeed_in_the_end(story: &RecordedStory) -> Result<(), Violation> {
    let recovered = story.phase(|phase| *phase == Phase::Recovered);
    let silent = story.phase(|phase| matches!(phase, Phase::OneSilent(_)));
    for (at, call, outcome) in story.outcomes() {
        let Call { begun_at, .. } = story.calls[call];
        let must_succeed = recovered.is_some_and(|recovered| begun_at >= recovered)
            && silent.is_none_or(|silent| at < silent);
        holds(!must_succeed || succeeds(outcome), || {
            format!("call {call} is {outcome:?} at {at:?}")
        })?;
    }
    Ok(())
}

/// When recovery ends. A link that is lost and still chosen costs calls an attempt, which retries hide.
pub fn every_replica_has_one_link(story: &RecordedStory) -> Result<(), Violation> {
    for (at, event) in story.events {
        if let Event::Linked { client, replicas } = event {
            holds(replicas == story.live(), || {
                let live = story.live();
                format!("client {client} has links to {replicas:?} at {at:?}, instead of {live:?}")
            })?;
        }
    }
    Ok(())
}

/// By each client, between the end of recovery and the calls that come together.
pub fn every_replica_is_used(story: &RecordedStory) -> Result<(), Violation> {
    let Some(from) = story.phase(|phase| *phase == Phase::Recovered) else {
        return Ok(());
    };
    let until =
        story.phase(|phase| !matches!(phase, Phase::Faults | Phase::Calm | Phase::Recovered));
    let used: BTreeSet<_> = story
        .attempts()
        .filter(|(at, ..)| *at >= from && until.is_none_or(|until| *at <= until))
        .map(|(_, call, replica)| (story.calls[call].client, replica))
        .collect();
    for client in 0..story.clients {
        for replica in story.live() {
            let is_used = used.contains(&(client, *replica));
            holds(is_used, || {
                format!("client {client} does not use replica {replica}")
            })?;
        }
    }
    Ok(())
}

/// Those of a client that come within the time for which calls stay with a replica.
pub fn calls_that_come_together_stay_together(story: &RecordedStory) -> Result<(), Violation> {
    let Some(from) = story.phase(|phase| *phase == Phase::Together) else {
        return Ok(());
    };
    let until = story.phase(|phase| matches!(phase, Phase::OneSilent(_) | Phase::End));
    let mut used: BTreeMap<ClientId, ReplicaId> = BTreeMap::new();
    for (at, call, replica) in story.attempts() {
        if at >= from && until.is_none_or(|until| at < until) {
            let client = story.calls[call].client;
            let first = *used.entry(client).or_insert(replica);
            holds(replica == first, || {
                format!("call {call} goes to replica {replica} at {at:?}, the first one to {first}")
            })?;
        }
    }
    Ok(())
}

pub fn dials_are_bounded(story: &RecordedStory) -> Result<(), Violation> {
    let second = Duration::from_secs(1);
    let mut changes = Vec::new();
    let mut dials: BTreeMap<ReplicaId, Vec<Duration>> = BTreeMap::new();
    for (at, event) in story.events {
        match event {
            Event::Dialled(replica) => dials.entry(*replica).or_default().push(*at),
            Event::LinkChanged | Event::AddressesChanged(_) => changes.push(*at),
            _ => {}
        }
    }
    let within = |times: &[Duration], from: Duration| {
        let end = times.partition_point(|at| *at < from + second);
        end - times.partition_point(|at| *at < from)
    };
    for (replica, dials) in dials {
        for begin in &dials {
            let count = within(&dials, *begin);
            let changes = within(&changes, *begin);
            let limit = story.clients * (quiet_dials() * (1 + changes)).min(most_dials());
            holds(count <= limit, || {
                format!(
                    "{count} to replica {replica} in the second from {begin:?}, with {changes} changes of links"
                )
            })?;
        }
    }
    Ok(())
}

pub fn silent_replica_is_avoided(story: &RecordedStory) -> Result<(), Violation> {
    let Some((begin, silent)) = story.events.iter().find_map(|(at, event)| match event {
        Event::Phase(Phase::OneSilent(replica)) => Some((*at, *replica)),
        _ => None,
    }) else {
        return Ok(());
    };
    let end = story
        .phase(|phase| *phase == Phase::End)
        .unwrap_or(Duration::MAX);
    let mut avoided_from = vec![Duration::MAX; story.clients];
    for (at, call, replica) in story.attempts() {
        let avoided_from = &mut avoided_from[story.calls[call].client];
        if replica == silent && at >= begin && at < end {
            *avoided_from = at.saturating_add(AVOIDED_AFTER).min(*avoided_from);
            holds(at < *avoided_from, || {
                format!("replica {silent} gets call {call} at {at:?}, not before {avoided_from:?}")
            })?;
        }
    }
    for (_, call, outcome) in story.outcomes() {
        let Call {
            client, begun_at, ..
        } = story.calls[call];
        let is_spared = begun_at >= avoided_from[client] && begun_at < end;
        holds(!is_spared || succeeds(outcome), || {
            format!("call {call} is {outcome:?}, although replica {silent} is avoided")
        })?;
    }
    Ok(())
}
