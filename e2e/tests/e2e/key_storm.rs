//! Clients that reuse a few keys across a few addresses, at several replicas: their rows collide, and nobody
//! else waits for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Http, Program, database, free_addr, start_gateway, start_users};

/// Clients that load the system, and how many keys and addresses they share when they collide.
const LOADING: usize = 56;
const SHARED: usize = 8;
/// Clients that do nothing wrong.
const INNOCENT: usize = 4;
/// How long a round takes, and how many there are of each kind.
const LENGTH: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// Two gateways, each with a users service of its own, on one database.
struct Replicas {
    https: [Http; 2],
    _programs: Vec<Program>,
}

impl Replicas {
    fn start() -> Self {
        let database = database::fresh_database();
        let mut programs = Vec::new();
        let https = [(); 2].map(|()| {
            let addr = free_addr();
            programs.push(start_users(&addr, &database, &[]));
            let (gateway, http) = start_gateway(&addr, &[]);
            programs.push(gateway);
            http.wait_until_ready();
            http
        });
        Self {
            https,
            _programs: programs,
        }
    }

    fn http(&self, n: usize) -> &Http {
        &self.https[n % self.https.len()]
    }
}

/// Creates users until `stop`. Those that collide share their keys and addresses in bursts, so that again and
/// again no row has them yet.
fn load(http: &Http, collides: bool, stop: &AtomicBool) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    while !stop.load(Ordering::Relaxed) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (key, email) = if collides {
            let burst = number / (4 * LOADING);
            let shared = || format!("burst{burst}-{}", fastrand::usize(..SHARED));
            (shared(), shared())
        } else {
            (format!("own{number}"), format!("own{number}"))
        };
        let answer = http.create_with_key(&format!("{email}@example.com"), "A", &key);
        assert!(
            [201, 409, 422, 503].contains(&answer.status),
            "{}",
            answer.status
        );
    }
}

/// The longest that a create took of clients that share nothing with each other.
fn slowest_innocent(replicas: &Replicas) -> Duration {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let client = || {
        let (end, mut slowest) = (Instant::now() + LENGTH, Duration::ZERO);
        while Instant::now() < end {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let begin = Instant::now();
            let http = replicas.http(number);
            let answer = http.create(&format!("innocent{number}@example.com"), "A");
            assert_eq!(answer.status, 201);
            slowest = slowest.max(begin.elapsed());
        }
        slowest
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..INNOCENT).map(|_| scope.spawn(client)).collect();
        let times = clients.into_iter().map(|client| client.join().unwrap());
        times.max().unwrap()
    })
}

/// The same while others create users as well, which may collide.
fn slowest_innocent_under_load(replicas: &Replicas, collides: bool) -> Duration {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..LOADING {
            let (http, stop) = (replicas.http(n), &stop);
            scope.spawn(move || load(http, collides, stop));
        }
        let slowest = slowest_innocent(replicas);
        stop.store(true, Ordering::Relaxed);
        slowest
    })
}

#[test]
fn innocent_creates_wait_little_longer_while_others_reuse_keys_across_addresses() {
    let replicas = Replicas::start();
    let rounds = (0..ROUNDS)
        .map(|_| [false, true].map(|collides| slowest_innocent_under_load(&replicas, collides)));
    let (calm, stormy): (Vec<_>, Vec<_>) = rounds.map(|[a, b]| (a, b)).unzip();
    println!("slowest innocent create of each round: calm {calm:?}, in the storm {stormy:?}");

    // Whoever waits for a lock as long as a statement may take shows in a single round.
    let slowest = stormy.iter().max().unwrap();
    assert!(*slowest < Duration::from_millis(700), "{slowest:?}");
    // Whoever waits for others again and again shows in the best round too, and a busy machine does not.
    let best = |rounds: &[Duration]| *rounds.iter().min().unwrap();
    let longer = best(&stormy).saturating_sub(best(&calm));
    assert!(longer < Duration::from_millis(100), "{longer:?}");
}
