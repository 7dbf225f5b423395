//! Creates from many clients, while something happens to the system.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Http;

/// What became of one create of [`under_load`].
#[derive(Debug)]
pub struct Outcome {
    /// Of the user that it was to create.
    pub email: String,
    /// The `Idempotency-Key`.
    pub key: String,
    /// 0: no gateway answered.
    pub status: u16,
    pub at: Instant,
    pub took: Duration,
}

/// Creates users from `clients` clients while `meanwhile` runs, and returns what became of all.
///
/// Each client asks the gateways in turn, and the next one when a connection is refused, or ends before the answer,
/// as a balancer would: a gateway that stops may close an idle connection just when a request is on its way.
pub fn under_load(
    gateways: &[Http],
    clients: usize,
    prefix: &str,
    meanwhile: impl FnOnce(),
) -> Vec<Outcome> {
    /// Stops the clients, also when `meanwhile` panics, as the scope waits for them.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let (stop, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        let mut outcomes = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = number.fetch_add(1, Ordering::Relaxed);
            outcomes.push(create(gateways, prefix, n));
        }
        outcomes
    };

    thread::scope(|scope| {
        let stop = Stop(&stop);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        thread::sleep(Duration::from_millis(300));
        meanwhile();
        thread::sleep(Duration::from_millis(300));

        drop(stop);
        let joined = clients.into_iter().map(|client| client.join().unwrap());
        joined.flatten().collect()
    })
}

/// Creates the user with this number, with a key of its own.
fn create(gateways: &[Http], prefix: &str, n: usize) -> Outcome {
    let email = format!("{prefix}{n}@example.com");
    let key = format!("{prefix}-{n}");
    let begin = Instant::now();
    let answer = (0..gateways.len()).find_map(|turn| {
        let gateway = &gateways[(n + turn) % gateways.len()];
        gateway.try_create(&email, "A", Some(&key)).ok()
    });
    Outcome {
        email,
        key,
        status: answer.map_or(0, |answer| answer.status),
        at: Instant::now(),
        took: begin.elapsed(),
    }
}
