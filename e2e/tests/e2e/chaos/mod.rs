//! Many clients, and a nemesis that breaks everything under them; then every answer is held against the
//! others and the table: **201 = exactly one durable row. 503 = nothing was written. 504 = unknown, and a retry
//! with the same key settles it.** Nothing else ever comes out of a fault.
//!
//! In the style of Jepsen. The seed is printed; `CHAOS_SEED` repeats its choices, `CHAOS_SECONDS` sets
//! the length: `CHAOS_SECONDS=600 cargo test --release --test e2e -- --ignored chaos`.

mod checker;
mod checker_tests;
mod client;
mod history;
mod hostile_peers;
mod linearizability;
mod linearizability_tests;
mod nemesis;
mod reader;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use fastrand::Rng;

use client::Done;
use history::Asked;
use world::World;

const CLIENTS: usize = 16;
/// Peers that misbehave beside them.
const HOSTILE_PEERS: usize = 4;
/// `REQUEST_TIMEOUT_MS` of the gateways.
const DEADLINE: Duration = Duration::from_secs(3);
/// How much later than the deadline an answer may come on a busy machine.
const SLACK: Duration = Duration::from_millis(2500);

/// How often each fault was made.
type Faults = BTreeMap<&'static str, usize>;

#[test]
fn every_answer_is_true_while_everything_breaks() {
    chaos(Duration::from_secs(12));
}

#[test]
#[ignore = "runs for minutes: CHAOS_SECONDS, 600 unless set"]
fn every_answer_is_true_while_everything_breaks_for_long() {
    let seconds = env::var("CHAOS_SECONDS").map_or(600, |seconds| seconds.parse().unwrap());
    chaos(Duration::from_secs(seconds));
}

/// Breaks things for a while, heals them, settles what is open, and checks the promise.
fn chaos(length: Duration) {
    let seed = env::var("CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("CHAOS_SEED={seed}");
    let world = World::start();
    let (faults, mut done) = run(&world, Rng::with_seed(seed), length);
    client::settle(&world, &mut done.operations);

    let rows = checker::rows(&world);
    report(&faults, &done, rows.len());
    let violations = checker::check(done, &rows);
    assert_eq!(violations, Vec::<String>::new(), "CHAOS_SEED={seed}");
}

/// Lets the clients work while the nemesis does, and returns what it did and all that they did.
fn run(world: &World, mut rng: Rng, length: Duration) -> (Faults, Done) {
    let stop = AtomicBool::new(false);
    let mut faults = Faults::new();
    let done = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (stop, rng) = (&stop, rng.fork());
                scope.spawn(move || client::run(world, n, rng, stop))
            })
            .collect();

        for _ in 0..HOSTILE_PEERS {
            let (stop, rng) = (&stop, rng.fork());
            scope.spawn(move || hostile_peers::run(world, rng, stop));
        }

        let end = Instant::now() + length;
        while Instant::now() < end {
            let fault = nemesis::break_something(world, &mut rng);
            *faults.entry(fault).or_default() += 1;
            thread::sleep(Duration::from_millis(rng.u64(..600)));
        }
        world.wait_until_ready();

        stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for client in clients {
            let done = client.join().unwrap();
            all.operations.extend(done.operations);
            all.reads.extend(done.reads);
        }
        all
    });
    (faults, done)
}

/// Prints what happened, and makes sure that it was enough to mean anything.
fn report(faults: &Faults, done: &Done, rows: usize) {
    let operations = &done.operations;
    let mut answers = BTreeMap::<String, usize>::new();
    for attempt in operations.iter().flat_map(|operation| &operation.attempts) {
        let status = attempt.status();
        let class = status.map_or("disconnected".to_owned(), |status| status.to_string());
        *answers.entry(class).or_default() += 1;
    }
    let attempts: usize = answers.values().sum();
    let (asked, repeated) = (operations.len(), attempts - operations.len());
    println!("faults: {faults:?}");
    println!("operations: {asked}, repeated: {repeated}, answers: {answers:?}, rows: {rows}");
    let reads =
        |kind: fn(&Asked) -> bool| done.reads.iter().filter(|read| kind(&read.asked)).count();
    let reads = [
        reads(|asked| matches!(asked, Asked::Get(_))),
        reads(|asked| matches!(asked, Asked::Find(_))),
        reads(|asked| matches!(asked, Asked::Page { .. })),
    ];
    println!("reads by id, by e-mail address, of pages: {reads:?}");
    let created = answers.get("201").copied().unwrap_or(0);
    let is_enough = created > 100 && reads.iter().all(|reads| *reads > 10);
    assert!(is_enough, "too little happened to mean anything");
}
