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

/// How long calls go to the same replica, so that those that arrive together share a commit there.
pub const STAY_FOR: Duration = Duration::from_millis(20);
/// Calls in flight on a link from which on the next one goes to the least busy link: enough for a large batch.
pub const STAY_BELOW: usize = 64;

/// The links of one thread.
pub struct Balancer {
    pub resolver: Resolver,
    links: RefCell<Vec<Rc<Link>>>,
    /// The link that was chosen last, and how long calls may stay with it.
    current: RefCell<Option<(Rc<Link>, Instant)>>,
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
            current: RefCell::default(),
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

    /// The replicas that calls can be sent to, each as often as it has links.
    #[cfg(test)]
    pub fn linked(&self) -> Vec<std::net::SocketAddr> {
        let links = self.links.borrow();
        links.iter().map(|link| link.replica.addr).collect()
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

    /// The link that was chosen last, for a while and as long as it is healthy and not busy, or else the least busy
    /// one.
    fn choose(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        if links.len() <= 1 {
            return links.first().cloned();
        }
        let now = Instant::now();
        let mut current = self.current.borrow_mut();
        let stays = |(link, until): &&(Rc<Link>, Instant)| {
            now < *until && link.calls.len() < STAY_BELOW && link.is_healthy(now)
        };
        if let Some((link, _)) = current.as_ref().filter(stays) {
            return Some(link.clone());
        }
        let link = least_busy(&links, now)?;
        link.chosen_at.set(now);
        *current = Some((link.clone(), now + STAY_FOR));
        Some(link)
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
        *self.current.borrow_mut() = None;
        if links.is_empty() {
            self.down_since.set(Instant::now());
            self.resolver.threads_without_link.fetch_add(1, Relaxed);
        }
        self.resolver.link_changed.notify_waiters();
    }
}

/// The least busy of the healthy links, or else of all. Of those that are as busy, the one that was chosen longest ago,
/// so that replicas take turns.
fn least_busy(links: &[Rc<Link>], now: Instant) -> Option<Rc<Link>> {
    let healthy = || links.iter().filter(|link| link.is_healthy(now));
    let busyness = |link: &&Rc<Link>| (link.calls.len(), link.chosen_at.get());
    let least = healthy().min_by_key(busyness);
    least.or_else(|| links.iter().min_by_key(busyness)).cloned()
}
