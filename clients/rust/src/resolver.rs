//! Where the users service is: the addresses behind its names, looked up again and again, because
//! replicas come and go.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::Endpoints;

/// How long a new replica may go unnoticed, and how soon a name is looked up again at the earliest.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
const LOOKUP_PAUSE: Duration = Duration::from_millis(200);

/// The replicas of the users service, as all threads of a process know them. Clones share it.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    addresses: watch::Receiver<Vec<SocketAddr>>,
    /// Asks for the next lookup at once. A thread does the lookups, and ends with the sender.
    hurry: mpsc::SyncSender<()>,
    /// Threads without any link to a replica.
    unlinked: AtomicUsize,
    /// A link has come up, or is in trouble: those that wait to try again try now.
    news: Notify,
}

impl Resolver {
    /// Follows the addresses behind `endpoints`.
    ///
    /// A name that cannot be looked up, now or for a while, keeps the addresses it had.
    #[must_use]
    pub fn start(endpoints: &Endpoints) -> Self {
        let (publish, addresses) = watch::channel(Vec::new());
        let (hurry, hurried) = mpsc::sync_channel(1);
        let names = endpoints.0.iter().map(|text| Name::new(text)).collect();
        // A lookup blocks for as long as the name server likes, so it gets a thread.
        thread::spawn(move || follow(names, &publish, &hurried));
        Self(Arc::new(Shared {
            addresses,
            hurry,
            unlinked: AtomicUsize::new(0),
            news: Notify::new(),
        }))
    }

    /// The addresses, as they change.
    pub(crate) fn addresses(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.0.addresses.clone()
    }

    /// Has the names looked up soon.
    pub(crate) fn look_again(&self) {
        let _ = self.0.hurry.try_send(());
    }

    /// A thread has lost its last link, or begins without one.
    pub(crate) fn thread_is_down(&self) {
        self.0.unlinked.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread that was down has a link.
    pub(crate) fn thread_is_up(&self) {
        self.0.unlinked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether every thread has a link.
    pub(crate) fn all_threads_up(&self) -> bool {
        self.0.unlinked.load(Ordering::Relaxed) == 0
    }

    /// Notified when a link comes up, which tells that replicas are back, and when one is in trouble,
    /// which makes the others needed.
    pub(crate) fn news(&self) -> &Notify {
        &self.0.news
    }
}

/// A name and what it last stood for.
struct Name {
    text: String,
    addresses: Vec<SocketAddr>,
    failing: bool,
}

impl Name {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            addresses: Vec::new(),
            failing: false,
        }
    }

    fn look_up(&mut self) {
        let found = self.text.to_socket_addrs();
        let failed = found.is_err();
        match found {
            Ok(found) => self.addresses = found.collect(),
            Err(error) if !self.failing => {
                tracing::warn!(name = self.text, %error, "a name cannot be looked up; trying on");
            }
            Err(_) => {}
        }
        self.failing = failed;
    }
}

fn follow(
    mut names: Vec<Name>,
    publish: &watch::Sender<Vec<SocketAddr>>,
    hurried: &mpsc::Receiver<()>,
) {
    loop {
        names.iter_mut().for_each(Name::look_up);
        let mut found: Vec<_> = names.iter().flat_map(|n| n.addresses.clone()).collect();
        found.sort_unstable();
        found.dedup();
        publish.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
        thread::sleep(LOOKUP_PAUSE);
        if hurried.recv_timeout(LOOKUP_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}
