//! Tells the stories of many seeds, and checks each.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, thread};

use super::invariants::RecordedStory;
use super::story::tell;
use super::trace::{Event, Outcome, to_text};
use crate::retry::MAX_RETRIES;

/// Stories that are told unless `SIMULATION_STORIES` says how many.
const STORIES: usize = 600;

#[test]
fn client_keeps_its_invariants_in_every_story() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let events = tell(seed as u64);
        println!("{}", to_text(&events));
        return RecordedStory::new(&events).check().unwrap();
    }
    let from = number("SIMULATION_FIRST_SEED").unwrap_or(0);
    let stories = number("SIMULATION_STORIES").unwrap_or(STORIES);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let workers = (0..threads).map(|first| {
        thread::spawn(move || {
            let mut seeds = (first..stories).step_by(threads);
            seeds.try_for_each(|seed| check((from + seed) as u64))
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        let checked = worker.join().unwrap();
        assert_eq!(checked, Ok(()));
    }
}

#[test]
fn same_seed_tells_the_same_story() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| to_text(&tell(seed)));
        assert!(first == second, "SIMULATION_SEED={seed} has two stories");
    }
}

#[test]
fn stories_have_every_outcome() {
    let outcomes = (0..40).flat_map(tell).filter_map(|(_, event)| match event {
        Event::CallEnded { outcome, .. } => Some(outcome),
        _ => None,
    });
    let outcomes: BTreeSet<_> = outcomes.collect();
    let all = [
        Outcome::Stored,
        Outcome::Replayed,
        Outcome::Read,
        Outcome::NotExecuted,
        Outcome::Unimplemented,
        Outcome::Unknown,
    ];
    assert_eq!(outcomes, all.into());
}

#[test]
fn stories_have_calls_of_every_number_of_attempts() {
    let counts = (0..40).flat_map(|seed| {
        let mut attempts = BTreeMap::new();
        for (_, event) in tell(seed) {
            if let Event::Attempted { call, .. } = event {
                *attempts.entry(call).or_insert(0) += 1;
            }
        }
        attempts.into_values()
    });
    let counts: BTreeSet<usize> = counts.collect();
    assert_eq!(counts, (1..=1 + MAX_RETRIES).collect());
}

/// A seed whose story breaks an invariant can be told again: `SIMULATION_SEED` prints its trace.
fn check(seed: u64) -> Result<(), String> {
    let events = tell(seed);
    let checked = RecordedStory::new(&events).check();
    checked.map_err(|why| format!("SIMULATION_SEED={seed} breaks an invariant: {why}"))
}

fn number(variable: &str) -> Option<usize> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}
