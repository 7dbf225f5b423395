//! The replicas of a story, the names that lead to them, and what can befall them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::{io, rc::Rc, time::Duration};

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::network::Route;
use super::replica::SimulatedReplica;
use super::trace::{Behaviour, Event, Fault, ReplicaId, Trace};
use crate::resolver::{LOOKUP_INTERVAL, LOOKUP_PAUSE, Lookups};

/// The names of the service. Each leads to every second replica.
pub const NAMES: [&str; 2] = ["users-a:4001", "users-b:4001"];
/// How soon a request to look names up is noticed, which the thread of a process does at once.
const REQUEST_POLL: Duration = Duration::from_millis(50);

/// A replica's addresses, as a resolver publishes them.
pub type Addresses = BTreeMap<SocketAddr, String>;

/// Everything beyond the client.
pub struct World {
    pub replicas: Vec<Rc<SimulatedReplica>>,
    /// The replicas whose addresses the names have.
    listed: RefCell<BTreeSet<ReplicaId>>,
    lookups_fail: Cell<bool>,
    trace: Trace,
}

impl World {
    /// A service that is well.
    pub fn new(count: usize, rng: &mut Rng, lifetime: Option<Duration>, trace: Trace) -> Rc<Self> {
        let table = Rc::default();
        let replica = |id| {
            let route = Rc::new(Route::new(id, rng.fork(), lifetime, trace.clone()));
            let replica = SimulatedReplica::new(route, rng.fork(), Rc::clone(&table));
            replica.start();
            replica
        };
        Rc::new(Self {
            replicas: (0..count).map(replica).collect(),
            listed: RefCell::new((0..count).collect()),
            lookups_fail: Cell::new(false),
            trace,
        })
    }

    pub fn routes(&self) -> Vec<Rc<Route>> {
        let replicas = self.replicas.iter();
        replicas.map(|replica| replica.route.clone()).collect()
    }

    pub fn listed(&self) -> Vec<ReplicaId> {
        self.listed.borrow().iter().copied().collect()
    }

    /// Has a fault begin or end.
    pub fn bring(&self, fault: Fault) {
        self.trace.record(Event::Fault(fault));
        match fault {
            Fault::Behaviour(id, behaviour) => self.replicas[id].set_behaviour(behaviour),
            Fault::Dies(id) => self.replicas[id].die(),
            Fault::Starts(id) => self.replicas[id].start(),
            Fault::Frozen(id, is_frozen) => self.replicas[id].route.set_frozen(is_frozen),
            Fault::Cut(id, cut) => self.replicas[id].route.set_cut(cut),
            Fault::Reset(id) => self.replicas[id].route.reset(),
            Fault::Forgotten(id) => self.replicas[id].route.forget(),
            Fault::LookupsFail(fail) => self.lookups_fail.set(fail),
        }
    }

    /// Ends all faults of a replica, apart from connections that are forgotten: its clients must notice them.
    pub fn heal(&self, id: ReplicaId) {
        for fault in [
            Fault::Cut(id, [false; 2]),
            Fault::Frozen(id, false),
            Fault::Behaviour(id, Behaviour::Serves),
            Fault::Starts(id),
        ] {
            self.bring(fault);
        }
    }

    /// Has the names lead to these replicas.
    pub fn list(&self, listed: BTreeSet<ReplicaId>) {
        let replicas = listed.iter().copied().collect();
        self.trace.record(Event::AddressesChanged(replicas));
        *self.listed.borrow_mut() = listed;
    }

    /// Does what the thread of a resolver does, and hands what it finds to each client in turn: tokio's channel
    /// would wake them in an order of its own.
    pub async fn run_lookups(
        self: Rc<Self>,
        mut lookups: Lookups,
        found: watch::Receiver<Addresses>,
        clients: Vec<watch::Sender<Addresses>>,
    ) {
        loop {
            let due = Instant::now() + LOOKUP_INTERVAL;
            while lookups.requests.try_recv().is_err() && Instant::now() < due {
                sleep(REQUEST_POLL).await;
            }
            lookups.look_up_all(|name| self.look_up(name));
            for client in &clients {
                let found = found.borrow().clone();
                client.send_if_modified(|known| {
                    let is_new = *known != found;
                    *known = found;
                    is_new
                });
            }
            sleep(LOOKUP_PAUSE).await;
        }
    }

    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let number = NAMES.iter().position(|other| *other == name).unwrap();
        let listed = self.listed();
        let of_name = listed.iter().filter(|id| **id % NAMES.len() == number);
        let found: Vec<_> = of_name.map(|id| self.replicas[*id].route.addr).collect();
        if self.lookups_fail.get() || found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }
}

/// A fault at random, or the end of one; a gentle one loses no answers.
pub fn random_fault(rng: &mut Rng, replicas: usize, is_gentle: bool) -> Fault {
    let id = rng.usize(..replicas);
    match rng.u8(..if is_gentle { 5 } else { 20 }) {
        0..5 => Fault::Behaviour(id, random_behaviour(rng)),
        5..7 => Fault::Dies(id),
        7..10 => Fault::Starts(id),
        10..12 => Fault::Frozen(id, rng.bool()),
        12..15 => Fault::Cut(id, [rng.bool(), rng.bool()]),
        15..17 => Fault::Reset(id),
        17..19 => Fault::Forgotten(id),
        _ => Fault::LookupsFail(rng.bool()),
    }
}

fn random_behaviour(rng: &mut Rng) -> Behaviour {
    let all = [
        Behaviour::Serves,
        Behaviour::Slow,
        Behaviour::Overloaded,
        Behaviour::Fails,
        Behaviour::Hangs,
        Behaviour::NotServing,
        Behaviour::Old,
    ];
    all[rng.usize(..all.len())]
}
