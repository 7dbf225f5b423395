//! The clients of a chaos test, and the history of what they asked for and were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{CLIENTS, DEADLINE, world::World};

/// What a client asked for, once or several times. The name is the operation's own.
#[derive(Debug)]
pub struct Operation {
    pub key: Option<String>,
    pub email: String,
    pub name: String,
    pub attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub enum Attempt {
    Answered {
        status: u16,
        id: Option<String>,
        /// Whether it says that an earlier request created the user.
        is_replay: bool,
        took: Duration,
        /// Whether a gateway was frozen meanwhile.
        frozen: bool,
    },
    /// The connection ended without an answer; a gateway was killed.
    Disconnected,
}

impl Operation {
    pub fn statuses(&self) -> impl Iterator<Item = u16> {
        self.attempts.iter().filter_map(Attempt::status)
    }

    /// Whether the answers leave open what became of it. After nothing but 503 nothing is open: most
    /// of those are left alone, so that a row would show that one was wrong.
    pub fn is_unknown(&self) -> bool {
        let is_settled = |status| matches!(status, 201 | 409 | 422);
        let is_open = |attempt: &Attempt| matches!(attempt.status(), None | Some(504));
        !self.statuses().any(is_settled) && self.attempts.iter().any(is_open)
    }

    /// Whether a retry can settle it.
    pub fn is_open(&self) -> bool {
        self.key.is_some() && self.is_unknown()
    }

    /// Sends it to one of the gateways, once.
    pub fn attempt(&mut self, world: &World, gateway: usize) -> Option<u16> {
        let (start, freezes) = (Instant::now(), world.freezes());
        let http = &world.https[gateway];
        let attempt = match http.try_create(&self.email, &self.name, self.key.as_deref()) {
            Err(_) => Attempt::Disconnected,
            Ok(answer) => Attempt::Answered {
                status: answer.status,
                id: answer.body["id"].as_str().map(str::to_owned),
                is_replay: answer.is_replay,
                took: start.elapsed(),
                frozen: freezes % 2 == 1 || freezes != world.freezes(),
            },
        };
        let status = attempt.status();
        self.attempts.push(attempt);
        status
    }
}

impl Attempt {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Disconnected => None,
        }
    }
}

/// One client: new operations, and repetitions of old ones.
pub fn run(world: &World, client: usize, mut rng: Rng, stop: &AtomicBool) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let chosen = choose_old(&operations, &mut rng).unwrap_or_else(|| {
            operations.push(new_operation(world, client, operations.len(), &mut rng));
            operations.len() - 1
        });
        let status = operations[chosen].attempt(world, rng.usize(..2));
        if matches!(status, None | Some(503)) {
            thread::sleep(Duration::from_millis(rng.u64(..40)));
        }
    }
    operations
}

/// Mostly the last one that is open, if any; seldom one that may be settled, which must replay.
fn choose_old(operations: &[Operation], rng: &mut Rng) -> Option<usize> {
    let open = operations.iter().rposition(Operation::is_open);
    if open.is_some() && rng.f64() < 0.7 {
        return open;
    }
    if operations.is_empty() || rng.f64() >= 0.1 {
        return None;
    }
    let any = rng.usize(..operations.len());
    operations[any].key.is_some().then_some(any)
}

/// A create of an address that others may want too, sometimes with another operation's key. In a storm all
/// of them share a few.
fn new_operation(world: &World, client: usize, number: usize, rng: &mut Rng) -> Operation {
    let name = format!("client {client} operation {number}");
    if let Some(storm) = world.storm() {
        return Operation {
            key: Some(format!("storm-{storm}-{}", rng.usize(..8))),
            email: format!("storm{storm}-{}@example.com", rng.usize(..8)),
            name,
            attempts: Vec::new(),
        };
    }

    let key = match rng.usize(..10) {
        0..3 => None,
        3 => {
            let (other, old) = (rng.usize(..CLIENTS), rng.usize(..=number));
            Some(format!("key-{other}-{old}"))
        }
        _ => Some(format!("key-{client}-{number}")),
    };
    Operation {
        key,
        email: format!("user{}@example.com", rng.usize(..1000 + number * CLIENTS)),
        name,
        attempts: Vec::new(),
    }
}

/// Retries what is open with its key. Each must come to an end now.
pub fn settle(world: &World, operations: &mut [Operation]) {
    // Calls that were on their way when their gateway gave up may still arrive.
    thread::sleep(DEADLINE);
    let open = operations
        .iter_mut()
        .filter(|operation| operation.is_open());
    for (i, operation) in open.enumerate() {
        operation.attempt(world, i % 2);
    }
}
