//! Traces that break an invariant, and are no stories of a right client: each check notices its own.

use std::time::Duration;

use super::invariants::{INVARIANTS, RecordedStory};
use super::trace::{CallId, CallRequest, Event, Outcome, Phase};

/// An event, and when it happens, in milliseconds.
type At = (u64, Event);

/// A create of the same user, with a second of time.
fn begun(call: CallId) -> Event {
    Event::CallBegun {
        call,
        client: 0,
        request: CallRequest::Create(0),
        timeout: Duration::from_secs(1),
    }
}

fn attempted(call: CallId) -> Event {
    Event::Attempted { call, replica: 0 }
}

fn executed(call: CallId) -> Event {
    Event::Executed { call, replica: 0 }
}

fn refused(call: CallId) -> Event {
    Event::Refused { call, replica: 0 }
}

fn ended(call: CallId, outcome: Outcome) -> Event {
    Event::CallEnded { call, outcome }
}

fn linked(replicas: Vec<usize>) -> Event {
    Event::Linked {
        client: 0,
        replicas,
    }
}

/// A trace for each invariant, in their order.
fn wrong_traces() -> [Vec<At>; INVARIANTS.len()] {
    use Outcome::{NotExecuted, Replayed, Stored, Unknown};
    let recovered = Event::Phase(Phase::Recovered);
    let all_at_once = |events: Vec<Event>| events.into_iter().map(|event| (0, event)).collect();
    [
        // More attempts than there may be.
        all_at_once([vec![begun(0)], vec![attempted(0); 5]].concat()),
        vec![(0, begun(0)), (1001, ended(0, NotExecuted))],
        all_at_once(vec![
            begun(0),
            attempted(0),
            executed(0),
            ended(0, NotExecuted),
        ]),
        all_at_once(vec![begun(0), attempted(0), refused(0), ended(0, Unknown)]),
        all_at_once(vec![
            begun(0),
            attempted(0),
            executed(0),
            ended(0, Replayed),
        ]),
        all_at_once(vec![recovered.clone(), begun(0), ended(0, NotExecuted)]),
        all_at_once(vec![Event::AddressesChanged(vec![0]), linked(vec![])]),
        all_at_once(vec![Event::AddressesChanged(vec![0]), recovered]),
        all_at_once(vec![
            Event::Phase(Phase::Together),
            begun(0),
            attempted(0),
            begun(1),
            Event::Attempted {
                call: 1,
                replica: 1,
            },
            executed(0),
            executed(1),
            ended(0, Stored),
            ended(1, Stored),
        ]),
        all_at_once(vec![Event::Dialled(0); 100]),
        // The second call comes when the first has had no answer for long.
        vec![
            (0, Event::Phase(Phase::OneSilent(0))),
            (0, begun(0)),
            (0, attempted(0)),
            (900, begun(1)),
            (900, attempted(1)),
            (950, executed(1)),
            (950, ended(1, Stored)),
            (1000, ended(0, Replayed)),
        ],
    ]
}

#[test]
fn each_invariant_is_broken_by_a_trace() {
    for ((invariant, _), trace) in INVARIANTS.iter().zip(wrong_traces()) {
        let events: Vec<_> = trace
            .into_iter()
            .map(|(at, event)| (Duration::from_millis(at), event))
            .collect();
        let violation = RecordedStory::new(&events).check().unwrap_err();
        assert!(violation.starts_with(invariant), "{violation}");
    }
}
