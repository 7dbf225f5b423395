//! The links of one thread, and which of them a call takes.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::{rc::Rc, time::Duration};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::faults::{Replica, ReplicaFaults};
use crate::{link::Link, resolver::Resolver, telemetry};

/// How long calls wait for a first link before they fail at once.
const FAIL_FAST_AFTER: Duration = Duration::from_secs(1);

/// The links of one thread.
pub struct Balancer {
    pub resolver: Resolver,
    links: RefCell<Vec<Rc<Link>>>,
    link_added: Notify,
    /// When the last link was lost. Counts only while there is none.
    down_since: Cell<Instant>,
    faults: ReplicaFaults,
}

impl Balancer {
    /// A balancer without links. The thread counts as disconnected until it gets one.
    pub fn new(resolver: Resolver) -> Self {
        resolver.threads_without_link.fetch_add(1, Relaxed);
        Self {
            resolver,
            links: RefCell::default(),
            link_added: Notify::new(),
            down_since: Cell::new(Instant::now()),
            faults: ReplicaFaults::default(),
        }
    }

    /// Remembers why there is no link to a replica, for the calls that find none.
    pub fn set_fault(&self, replica: &Replica, fault: impl Display) {
        self.faults.set(replica, fault);
    }

    /// Forgets it, when the replica's address is gone.
    pub fn clear_fault(&self, replica: &Replica) {
        self.faults.clear(replica);
    }

    /// Why replicas have no link: each address with its fault.
    pub fn describe_faults(&self) -> String {
        self.faults.describe(&self.resolver.lookup_faults())
    }

    pub fn has_link(&self) -> bool {
        !self.links.borrow().is_empty()
    }

    /// The link for the next call. While there is none, waits for one until `deadline`; after a second
    /// without any, returns `None` at once.
    pub async fn pick(&self, deadline: Instant) -> Option<Rc<Link>> {
        loop {
            if let Some(link) = self.choose() {
                return Some(link);
            }
            let give_up_at = deadline.min(self.down_since.get() + FAIL_FAST_AFTER);
            let added = self.link_added.notified();
            timeout_at(give_up_at, added).await.ok()?;
        }
    }

    /// The less busy of two links, taken at random among the healthy ones, or else among all ("The Power of
    /// Two Choices in Randomized Load Balancing", Mitzenmacher 2001).
    fn choose(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        if links.len() <= 1 {
            return links.first().cloned();
        }
        let now = Instant::now();
        let mut two =
            fastrand::choose_multiple(links.iter().filter(|link| link.is_healthy(now)), 2);
        if two.is_empty() {
            two = fastrand::choose_multiple(links.iter(), 2);
        }
        let busyness = |link: &&Rc<Link>| (link.calls.len(), fastrand::u8(..));
        two.into_iter().min_by_key(busyness).cloned()
    }

    pub fn add(&self, link: Rc<Link>) {
        telemetry::count_connect();
        telemetry::links_up().increment(1.0);
        let mut links = self.links.borrow_mut();
        if links.is_empty() {
            self.resolver.threads_without_link.fetch_sub(1, Relaxed);
        }
        self.faults.clear(&link.replica);
        links.push(link);
        self.link_added.notify_waiters();
        self.resolver.link_changed.notify_waiters();
    }

    pub fn remove(&self, link: &Rc<Link>) {
        telemetry::links_up().decrement(1.0);
        let mut links = self.links.borrow_mut();
        links.retain(|other| !Rc::ptr_eq(other, link));
        if links.is_empty() {
            self.down_since.set(Instant::now());
            self.resolver.threads_without_link.fetch_add(1, Relaxed);
        }
        self.resolver.link_changed.notify_waiters();
    }
}
