//! The group commit in thousands of orders of its steps: no call is forgotten or executed twice, and no more batches
//! run than may.
//!
//! [Shuttle](https://docs.rs/shuttle) makes the orders. It prints the schedule that fails, and this runs it again:
//! `SCHEDULE=9102… cargo test --lib name_of_the_test`. For more of them, set `SCHEDULES=100000`.

mod exhaustive;
mod history;
mod scenario;

use std::env;
use std::sync::{Arc, Mutex};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

use self::history::{Event, Tally};
use self::scenario::{Clock, Scenario};

/// How many schedules a test looks at, of each kind.
const SCHEDULES: usize = 2000;
const SEED: u64 = 1;
/// So many times a thread overtakes those that go before it. Few are enough for most mistakes (Burckhardt et al., "A
/// randomized scheduler with probabilistic guarantees of finding bugs").
const PREEMPTIONS: usize = 3;

/// Runs `schedule` as often as `scheduler` likes, or once in the order that `SCHEDULE` has; returns how often.
fn run(scheduler: impl Scheduler + 'static, schedule: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    // Unoptimized code needs more than the 60 KiB that are usual.
    config.stack_size = 256 << 10;
    match env::var("SCHEDULE") {
        Ok(order) => Runner::new(ReplayScheduler::new_from_encoded(&order), config).run(schedule),
        Err(_) => Runner::new(scheduler, config).run(schedule),
    }
}

/// Checks what happens in many schedules of `scenario`, among them some with each of `events`: without those, the check
/// would say nothing.
fn explore(scenario: Scenario, events: &[Event]) {
    let tally = Arc::new(Mutex::new(Tally::new()));
    let count = tally.clone();
    let schedule = move || {
        let history = scenario.run();
        history.check(scenario.max_batch, scenario.max_running);
        count.lock().unwrap().extend(history.events());
    };
    let schedules = env::var("SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap());
    let seed = env::var("SCHEDULES_SEED").map_or(SEED, |text| text.parse().unwrap());
    let random = RandomScheduler::new_from_seed(seed, schedules);
    run(random, schedule.clone());
    run(
        PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules),
        schedule,
    );

    if env::var("SCHEDULE").is_err() {
        let tally = tally.lock().unwrap();
        for event in events {
            assert!(tally.contains(event), "no schedule has {event:?}");
        }
    }
}

const CALM: Scenario = Scenario {
    threads: 2,
    calls_per_thread: 2,
    max_batch: 2,
    max_running: 1,
    clock: Clock::Stands,
    batches_fail: false,
    callers_leave: false,
    first_batch_is_last: false,
};

#[test]
fn every_call_is_answered_although_nobody_looks_twice() {
    explore(CALM, &[Event::Answered, Event::CallsTogether]);
}

#[test]
fn full_batches_run_beside_each_other_but_no_more_than_may() {
    let scenario = Scenario {
        threads: 3,
        max_batch: 1,
        max_running: 2,
        ..CALM
    };
    explore(scenario, &[Event::Answered, Event::BatchesBesideEachOther]);
}

#[test]
fn call_that_a_full_batch_leaves_waits_for_no_other_when_another_batch_may_run() {
    let scenario = Scenario {
        calls_per_thread: 1,
        max_batch: 1,
        max_running: 2,
        first_batch_is_last: true,
        ..CALM
    };
    explore(scenario, &[Event::Answered, Event::BatchesBesideEachOther]);
}

#[test]
fn batch_that_fails_loses_no_call_but_those_it_took() {
    let scenario = Scenario {
        threads: 3,
        max_running: 2,
        batches_fail: true,
        ..CALM
    };
    explore(
        scenario,
        &[
            Event::Answered,
            Event::OutcomeUnknown,
            Event::BatchesBesideEachOther,
        ],
    );
}

#[test]
fn caller_that_leaves_takes_no_other_call_with_it() {
    let scenario = Scenario {
        threads: 3,
        max_running: 2,
        batches_fail: true,
        callers_leave: true,
        ..CALM
    };
    explore(scenario, &[Event::Answered, Event::Left, Event::EmptyBatch]);
}

#[test]
fn call_whose_time_runs_out_is_not_executed_or_its_outcome_is_unknown() {
    let scenario = Scenario {
        threads: 3,
        max_running: 2,
        clock: Clock::Passes { deadlines: 3 },
        batches_fail: true,
        callers_leave: true,
        ..CALM
    };
    explore(
        scenario,
        &[
            Event::Answered,
            Event::NotExecuted,
            Event::OutcomeUnknown,
            Event::BatchesBesideEachOther,
        ],
    );
}

#[test]
fn slow_batch_holds_no_other_call_up() {
    let scenario = Scenario {
        max_batch: 8,
        max_running: 2,
        clock: Clock::Runs,
        first_batch_is_last: true,
        ..CALM
    };
    explore(scenario, &[Event::Answered, Event::BatchesBesideEachOther]);
}
