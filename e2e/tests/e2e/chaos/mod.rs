//! Many clients, and a nemesis that breaks everything under them; then every answer is held against the
//! others and the table: **201 = exactly one durable row. 503 = nothing was written. 504 = unknown, and a retry
//! with the same key settles it.** Nothing else ever comes out of a fault.
//!
//! In the style of Jepsen. The seed is printed; `CHAOS_SEED` repeats its choices, `CHAOS_SECONDS` sets
//! the length, and `CHAOS_CLIENTS` the number of clients:
//! `CHAOS_SECONDS=3600 CHAOS_CLIENTS=32 cargo test --release --test e2e -- --ignored chaos`.

mod checker;
mod checker_tests;
mod client;
mod credentials;
mod history;
mod hostile_peers;
mod importer;
mod linearizability;
mod linearizability_tests;
mod nemesis;
mod reader;
mod rpc_client;
mod world;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use fastrand::Rng;

use client::Done;
use history::Asked;
use importer::Imported;
use world::World;

static CLIENTS: LazyLock<usize> = LazyLock::new(|| from_environment("CHAOS_CLIENTS").unwrap_or(16));
/// Of that many clients, one speaks RPC, and the others HTTP.
const RPC_SHARE: usize = 4;
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
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(600);
    chaos(Duration::from_secs(seconds));
}

fn from_environment<T: FromStr<Err: Debug>>(variable: &str) -> Option<T> {
    env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// Breaks things for a while, heals them, settles what is open, and checks the promise.
fn chaos(length: Duration) {
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let world = World::start(rng.bool());
    let (faults, mut done, imported) = run(&world, rng, length);
    client::settle(&world, &mut done.operations);

    let rows = checker::rows(&world);
    println!("mutual TLS: {}", world.tls.is_some());
    report(&faults, &done, &imported, rows.len());
    let violations = checker::check(done, imported, &rows);
    assert_eq!(violations, Vec::<String>::new(), "CHAOS_SEED={seed}");
}

/// Lets the clients work while the nemesis does, and returns what it did and all that they did.
fn run(world: &World, mut rng: Rng, length: Duration) -> (Faults, Done, Imported) {
    let stop = AtomicBool::new(false);
    let mut faults = Faults::new();
    let (done, imported) = thread::scope(|scope| {
        // The others end when this thread panics, too, or the scope would wait for them.
        let stop_others = StopOnDrop(&stop);
        let clients: Vec<_> = (0..*CLIENTS)
            .map(|n| {
                let (stop, rng) = (&stop, rng.fork());
                let speaks_rpc = n % RPC_SHARE == 0;
                let run = if speaks_rpc {
                    rpc_client::run
                } else {
                    client::run
                };
                scope.spawn(move || run(world, n, rng, stop))
            })
            .collect();
        let importer = {
            let (stop, rng) = (&stop, rng.fork());
            scope.spawn(move || importer::run(world, rng, stop))
        };

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

        drop(stop_others);
        let mut all = Done::default();
        for client in clients {
            all.extend(client.join().unwrap());
        }
        (all, importer.join().unwrap())
    });
    (faults, done, imported)
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prints what happened, and makes sure that it was enough to mean anything.
fn report(faults: &Faults, done: &Done, imported: &Imported, rows: usize) {
    let operations = &done.operations;
    let mut answers = BTreeMap::<String, usize>::new();
    for attempt in operations.iter().flat_map(|operation| &operation.attempts) {
        let status = attempt.status();
        let class = status.map_or("disconnected".to_owned(), |status| status.to_string());
        *answers.entry(class).or_default() += 1;
    }
    let attempts: usize = answers.values().sum();
    let (asked, repeated) = (operations.len(), attempts - operations.len());
    let (imports, kills) = (imported.rows.len(), imported.kills);
    println!("imported: {imports} rows, by imports that were killed {kills} times");
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
    let created = [false, true].map(|by_rpc| {
        let made = operations.iter().filter(|it| it.by_rpc == by_rpc);
        made.filter(|it| it.statuses().any(|status| status == 201))
            .count()
    });
    println!("created by HTTP, by RPC: {created:?}");
    let is_enough = created.iter().all(|created| *created > 100)
        && reads.iter().all(|reads| *reads > 10)
        && !imported.rows.is_empty();
    assert!(is_enough, "too little happened to mean anything");
}
