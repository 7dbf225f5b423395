//! A story: faults at random, then a calm in which everything recovers, then one replica that falls silent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::{rc::Rc, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::bounds::{COMPANY, COMPANY_GAP, RECOVERY, SILENCE, SPREAD_CALLS, SPREAD_GAP};
use super::call::make_call;
use super::network::SimulatedDial;
use super::trace::{Behaviour, CallRequest, ClientId, Event, Fault, Phase, Trace};
use super::wire_tap::traceparent;
use super::world::{Addresses, NAMES, World, random_fault};
use crate::balancer::STAY_BELOW;
use crate::dial::Dial;
use crate::resolver::Resolver;
use crate::{CallOptions, LocalClient};

/// Calls that run at once, of all clients: more than there ever are, so that none is refused for their number.
const IN_FLIGHT: usize = 4096;
/// How long a call of a calm time may take.
const CALM_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for what is still under way at the end.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What happens to the seed's service and its clients.
pub fn tell(seed: u64) -> Vec<(Duration, Event)> {
    // The code under test draws from the generator of its thread.
    fastrand::seed(seed);
    let mut builder = Builder::new_current_thread();
    let builder = builder.enable_time().start_paused(true);
    let runtime = builder.build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let story = Story::begin(Rng::with_seed(seed));
        story.run().await;
        story.trace.clone().into_events()
    })
}

struct Story {
    rng: RefCell<Rng>,
    trace: Trace,
    world: Rc<World>,
    clients: Vec<LocalClient>,
    calls: RefCell<Vec<JoinHandle<()>>>,
    users: Cell<u32>,
    /// Whether links are replaced in time, as those of certificates that expire.
    links_expire: bool,
}

impl Story {
    /// Starts the service, and the clients, which share a resolver like the threads of a process.
    fn begin(mut rng: Rng) -> Self {
        let trace = Trace::new();
        let lifetime = match rng.u8(..8) {
            0 => Some(Duration::from_millis(rng.u64(500..4000))),
            // Certificates that have expired by this machine's clock, and not by the others'.
            1 => Some(Duration::ZERO),
            _ => None,
        };
        let world = World::new(rng.usize(1..=4), &mut rng, lifetime, trace.clone());
        let (dial, dial_requests) = SimulatedDial::new();
        spawn_local(dial_requests.run(world.routes()));

        let endpoints = NAMES.join(",").parse().unwrap();
        let (resolver, lookups) = Resolver::new(&endpoints, Dial::Simulated(dial));
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut publish = Vec::new();
        let clients = (0..=usize::from(rng.u8(..3) == 0)).map(|_| {
            let (send, addresses) = watch::channel(Addresses::new());
            publish.push(send);
            let mut resolver = resolver.clone();
            resolver.addresses = addresses;
            LocalClient::new(resolver, in_flight.clone())
        });
        let clients = clients.collect();
        spawn_local(record_link_changes(resolver.clone(), trace.clone()));
        let found = resolver.addresses.clone();
        spawn_local(world.clone().run_lookups(lookups, found, publish));

        Self {
            rng: RefCell::new(rng),
            trace,
            world,
            clients,
            calls: RefCell::default(),
            users: Cell::default(),
            links_expire: lifetime.is_some(),
        }
    }

    async fn run(&self) {
        self.trace.record(Event::Phase(Phase::Faults));
        let until = Instant::now() + self.random_ms(1000..4000);
        futures::join!(self.bring_faults(until), self.call_at_random(until));

        self.end_faults();
        self.trace.record(Event::Phase(Phase::Calm));
        self.call_steadily(RECOVERY, Duration::from_millis(500))
            .await;

        self.trace.record(Event::Phase(Phase::Recovered));
        self.record_links();
        let calls = u32::try_from(SPREAD_CALLS * self.world.listed().len()).unwrap();
        self.call_steadily(SPREAD_GAP * calls, SPREAD_GAP).await;

        // A link that replaces another in between would be the less busy one.
        if !self.links_expire {
            self.trace.record(Event::Phase(Phase::Together));
            self.call_steadily(COMPANY_GAP * COMPANY, COMPANY_GAP).await;
            sleep(SPREAD_GAP).await;
        }

        self.silence_one().await;
        self.trace.record(Event::Phase(Phase::End));
        for call in self.calls.take() {
            call.await.unwrap();
        }
        sleep(AFTERMATH).await;
    }

    fn record_links(&self) {
        let routes = self.world.routes();
        let replica_at = |addr| routes.iter().find(|route| route.addr == addr);
        for (client, of) in self.clients.iter().enumerate() {
            let linked = of.0.balancer.linked().into_iter();
            let mut replicas: Vec<_> = linked
                .map(|addr| replica_at(addr).unwrap().replica)
                .collect();
            replicas.sort_unstable();
            self.trace.record(Event::Linked { client, replicas });
        }
    }

    fn random_ms(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.borrow_mut().u64(range))
    }

    async fn pause_up_to(&self, limit: Duration) {
        let pause = limit.mul_f64(self.rng.borrow_mut().f64());
        sleep(pause).await;
    }

    async fn bring_faults(&self, until: Instant) {
        let longest_pause = 2 * self.random_ms(50..800);
        let replicas = self.world.replicas.len();
        let is_gentle = self.rng.borrow_mut().u8(..4) == 0;
        while Instant::now() < until {
            self.pause_up_to(longest_pause).await;
            let mut rng = self.rng.borrow_mut();
            match rng.u8(..8) {
                0 => self.world.heal(rng.usize(..replicas)),
                1 => self
                    .world
                    .list((0..replicas).filter(|_| rng.bool()).collect()),
                _ => self
                    .world
                    .bring(random_fault(&mut rng, replicas, is_gentle)),
            }
        }
    }

    /// Heals some replicas, to which the names lead from now on, and ends the others.
    fn end_faults(&self) {
        let mut rng = self.rng.borrow_mut();
        let replicas = 0..self.world.replicas.len();
        let mut listed: BTreeSet<_> = replicas.clone().filter(|_| rng.u8(..4) > 0).collect();
        if listed.is_empty() {
            listed.insert(0);
        }
        for id in replicas {
            self.world.heal(id);
            if !listed.contains(&id) {
                self.world.bring(Fault::Dies(id));
            }
        }
        self.world.list(listed);
        self.world.bring(Fault::LookupsFail(false));
    }

    /// Has one replica of several fall silent, in one of the ways in which one can.
    async fn silence_one(&self) {
        let listed = self.world.listed();
        if listed.len() < 2 {
            return;
        }
        let id = listed[self.rng.borrow_mut().usize(..listed.len())];
        let ways = [
            Fault::Frozen(id, true),
            Fault::Cut(id, [true, false]),
            Fault::Cut(id, [false, true]),
            Fault::Behaviour(id, Behaviour::Hangs),
        ];
        // A new link to a replica that hangs gets calls as well.
        let ways = &ways[..ways.len() - usize::from(self.links_expire)];
        self.trace.record(Event::Phase(Phase::OneSilent(id)));
        self.world
            .bring(ways[self.rng.borrow_mut().usize(..ways.len())]);
        self.call_steadily(SILENCE / 2, 3 * SPREAD_GAP).await;
        // More than one healthy replica gets while another is less busy, which the silent one must not count as.
        if listed.len() == 2 && self.rng.borrow_mut().u8(..8) == 0 {
            (0..STAY_BELOW + 4).for_each(|_| self.call(0, CALM_TIMEOUT));
        }
        self.call_steadily(SILENCE / 2, 3 * SPREAD_GAP).await;
        self.world.heal(id);
    }

    /// Few calls, one after the other, or many at once.
    async fn call_at_random(&self, until: Instant) {
        let calls_at_once = if self.rng.borrow_mut().u8(..16) == 0 {
            80
        } else {
            1
        };
        let longest_pause = self.random_ms(30..300) * (1 + calls_at_once / 20);
        while Instant::now() < until {
            for _ in 0..calls_at_once {
                let client = self.rng.borrow_mut().usize(..self.clients.len());
                let timeout = self.random_ms(20..3000);
                self.call(client, timeout);
            }
            self.pause_up_to(longest_pause).await;
        }
    }

    async fn call_steadily(&self, duration: Duration, gap: Duration) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            for client in 0..self.clients.len() {
                self.call(client, CALM_TIMEOUT);
            }
            sleep(gap).await;
        }
    }

    fn call(&self, client: ClientId, timeout: Duration) {
        let call = self.calls.borrow().len();
        let request = self.next_request();
        self.trace.record(Event::CallBegun {
            call,
            client,
            request,
            timeout,
        });
        let (client, trace) = (self.clients[client].clone(), self.trace.clone());
        let options = CallOptions {
            timeout,
            traceparent: traceparent(call),
        };
        self.calls.borrow_mut().push(spawn_local(async move {
            let outcome = make_call(&client, request, &options).await;
            trace.record(Event::CallEnded { call, outcome });
        }));
    }

    /// Creates a user, creates one again, or reads one.
    fn next_request(&self) -> CallRequest {
        let (mut rng, users) = (self.rng.borrow_mut(), self.users.get());
        match rng.u8(..10) {
            0..3 if users > 0 => CallRequest::Get(rng.u32(..users)),
            3..5 if users > 0 => CallRequest::Create(rng.u32(..users)),
            _ => {
                self.users.set(users + 1);
                CallRequest::Create(users)
            }
        }
    }
}

async fn record_link_changes(resolver: Resolver, trace: Trace) {
    loop {
        resolver.link_changed.notified().await;
        trace.record(Event::LinkChanged);
    }
}
