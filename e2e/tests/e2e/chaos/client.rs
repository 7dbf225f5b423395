//! The clients of a chaos test: what they ask for, and what they are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::history::{Asked, Event, Row, Told, user_id};
use super::reader::{self, Pages};
use super::world::World;
use super::{CLIENTS, DEADLINE};

/// How long it may take until a request is answered when nothing breaks any more, on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// What one client did.
#[derive(Default)]
pub struct Done {
    pub operations: Vec<Operation>,
    /// Reads that were answered, unless they were refused.
    pub reads: Vec<Event>,
}

impl Done {
    /// Adds what another client did.
    pub fn extend(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.reads.extend(other.reads);
    }
}

/// What a client asked for, once or several times. The name is the operation's own.
#[derive(Debug)]
pub struct Operation {
    pub key: Option<String>,
    pub email: String,
    pub name: String,
    /// Whether its client speaks RPC.
    pub by_rpc: bool,
    pub attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub enum Attempt {
    Answered {
        status: u16,
        /// As the answer shows it.
        user: Row,
        /// Whether it says that an earlier request created the user.
        is_replay: bool,
        begin: Instant,
        end: Instant,
        /// Whether a gateway was frozen meanwhile.
        frozen: bool,
        /// Whether API keys had just been replaced.
        has_new_key: bool,
    },
    /// No usable answer came: a gateway was killed.
    Disconnected { begin: Instant },
}

impl Operation {
    /// The id of its user, if it is safe to repeat.
    pub fn id(&self) -> Option<String> {
        self.key.as_deref().map(user_id)
    }

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
        let (begin, freezes) = (Instant::now(), world.freezes());
        let http = world.http(gateway);
        let attempt = match http.try_create(&self.email, &self.name, self.key.as_deref()) {
            Err(error) => {
                let is_late =
                    matches!(error, ureq::Error::Timeout(_)) && freezes == world.freezes();
                assert!(!is_late, "a request that is never answered: {error}");
                Attempt::Disconnected { begin }
            }
            Ok(answer) => Attempt::Answered {
                status: answer.status,
                user: reader::row(&answer.body),
                is_replay: answer.is_replay,
                begin,
                end: Instant::now(),
                frozen: freezes % 2 == 1 || freezes != world.freezes(),
                has_new_key: world.api_keys.may_be_refused(begin),
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
            Self::Disconnected { .. } => None,
        }
    }
}

/// One client: new operations, and repetitions of old ones.
pub fn run(world: &World, client: usize, mut rng: Rng, stop: &AtomicBool) -> Done {
    let (mut operations, mut reads) = (Vec::<Operation>::new(), Vec::new());
    let mut pages = Pages::default();
    while !stop.load(Ordering::Relaxed) {
        if rng.f64() < 0.2 {
            let gateway = rng.usize(..2);
            reads.extend(read(world, gateway, &operations, &mut pages, &mut rng));
        }
        if rng.f64() < 0.02 {
            reads.extend(read_with_revoked_key(world, &mut rng));
        }
        let chosen = choose_old(&operations, &mut rng).unwrap_or_else(|| {
            operations.push(new_operation(world, client, operations.len(), &mut rng));
            operations.len() - 1
        });
        let status = operations[chosen].attempt(world, rng.usize(..2));
        if matches!(status, None | Some(401 | 503)) {
            thread::sleep(Duration::from_millis(rng.u64(..40)));
        }
    }
    Done { operations, reads }
}

/// Reads something that may be there: what a client has asked for itself, or a page of all users.
fn read(
    world: &World,
    gateway: usize,
    operations: &[Operation],
    pages: &mut Pages,
    rng: &mut Rng,
) -> Option<Event> {
    let any = rng.choice(operations);
    let id = any.and_then(Operation::id);
    match (rng.usize(..3), any, id) {
        (0, _, Some(id)) => reader::get(world, gateway, id),
        (1, Some(any), _) => reader::find(world, gateway, any.email.clone()),
        _ => pages.read(world, gateway),
    }
}

/// Reads with a key that must not be accepted any more, and returns what is wrong.
fn read_with_revoked_key(world: &World, rng: &mut Rng) -> Option<Event> {
    let key = world.api_keys.revoked(rng)?;
    let http = world.http(rng.usize(..2)).with_api_key(&key);
    let begin = Instant::now();
    let status = http.try_get("/users").ok()?.status;
    (!matches!(status, 401 | 503)).then(|| Event {
        begin,
        end: Some(Instant::now()),
        asked: Asked::WithRevokedKey,
        told: Told::Status(status),
    })
}

/// Mostly the last one that is open, if any; seldom one that may be settled, which must replay.
pub fn choose_old(operations: &[Operation], rng: &mut Rng) -> Option<usize> {
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
pub fn new_operation(world: &World, client: usize, number: usize, rng: &mut Rng) -> Operation {
    let name = format!("client {client} operation {number}");
    if let Some(storm) = world.storm() {
        return Operation {
            key: Some(format!("storm-{storm}-{}", rng.usize(..8))),
            email: format!("storm{storm}-{}@example.com", rng.usize(..8)),
            name,
            by_rpc: false,
            attempts: Vec::new(),
        };
    }

    let key = match rng.usize(..10) {
        0..3 => None,
        3 => {
            let (other, old) = (rng.usize(..*CLIENTS), rng.usize(..=number));
            Some(format!("key-{other}-{old}"))
        }
        _ => Some(format!("key-{client}-{number}")),
    };
    Operation {
        key,
        email: format!("user{}@example.com", rng.usize(..1000 + number * *CLIENTS)),
        name,
        by_rpc: false,
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
        let end = Instant::now() + SETTLED_WITHIN;
        while operation.is_open() && Instant::now() < end {
            operation.attempt(world, i % 2);
        }
    }
}
