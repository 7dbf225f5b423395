//! The links of one thread, and which of them a call takes.

use std::{cell::RefCell, rc::Rc, time::Duration};

use metrics::{counter, gauge};
use tokio::{
    sync::watch,
    task::spawn_local,
    time::{Instant, timeout_at},
};

use crate::{Resolver, link::Link, reconnect::follow};

/// How long calls wait for a first link before they are told at once that there is none.
const FAIL_FAST_AFTER: Duration = Duration::from_secs(1);

/// No replica of the users service can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Down;

/// The links of one thread.
pub struct Links {
    pub replicas: Resolver,
    up: RefCell<Vec<Rc<Link>>>,
    /// Since when there has been no link.
    down_since: watch::Sender<Option<Instant>>,
}

impl Links {
    /// Starts connecting to `replicas`, and never gives up.
    ///
    /// Call it on a thread that runs a tokio local runtime; the links last as long as the runtime.
    pub fn new(replicas: Resolver) -> Rc<Self> {
        replicas.thread_is_down();
        let links = Rc::new(Self {
            replicas,
            up: RefCell::default(),
            down_since: watch::Sender::new(Some(Instant::now())),
        });
        spawn_local(follow(links.clone()));
        links
    }

    /// Whether every thread that uses these replicas has a link: the next request may come to any.
    pub fn all_threads_up(&self) -> bool {
        self.replicas.all_threads_up()
    }

    /// The link for the next call. While there is none, waits for one up to `deadline`; once there has
    /// been none for a second, says so at once.
    pub async fn pick(&self, deadline: Instant) -> Result<Rc<Link>, Down> {
        loop {
            if let Some(link) = self.choose() {
                return Ok(link);
            }
            let mut down_since = self.down_since.subscribe();
            let since = *down_since.borrow_and_update();
            let patience = deadline.min(since.unwrap_or(deadline) + FAIL_FAST_AFTER);
            timeout_at(patience, down_since.wait_for(Option::is_none))
                .await
                .map_err(|_| Down)?
                .map_err(|_| Down)?;
        }
    }

    /// The less busy of two links, taken at random among those that are well, or else among all ("The
    /// Power of Two Choices in Randomized Load Balancing", Mitzenmacher 2001).
    fn choose(&self) -> Option<Rc<Link>> {
        let up = self.up.borrow();
        if up.len() <= 1 {
            return up.first().cloned();
        }
        let now = Instant::now();
        let mut two = fastrand::choose_multiple(up.iter().filter(|link| link.is_well(now)), 2);
        if two.is_empty() {
            two = fastrand::choose_multiple(up.iter(), 2);
        }
        two.into_iter()
            .min_by_key(|link| (link.in_flight.get(), fastrand::u8(..)))
            .cloned()
    }

    /// Counts a call out; `well`: it was answered, and not by a refusal or a failure. After one of
    /// those the replica is avoided until it says that it serves.
    pub fn end(&self, link: &Link, well: bool) {
        link.in_flight.set(link.in_flight.get() - 1);
        link.heard.set(Instant::now());
        if !well && link.serving.replace(false) {
            self.replicas.news().notify_waiters();
        }
    }

    pub fn add(&self, link: Rc<Link>) {
        counter!("rpc_client_connects_total").increment(1);
        // Of all threads together.
        gauge!("rpc_client_links_up").increment(1.0);
        self.up.borrow_mut().push(link);
        if self.down_since.send_replace(None).is_some() {
            self.replicas.thread_is_up();
        }
        self.replicas.news().notify_waiters();
    }

    pub fn remove(&self, link: &Rc<Link>) {
        gauge!("rpc_client_links_up").decrement(1.0);
        self.replicas.news().notify_waiters();
        let mut up = self.up.borrow_mut();
        up.retain(|other| !Rc::ptr_eq(other, link));
        if up.is_empty() {
            self.down_since.send_replace(Some(Instant::now()));
            self.replicas.thread_is_down();
        }
    }
}
