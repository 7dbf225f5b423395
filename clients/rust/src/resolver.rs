//! The addresses behind the names of the users service, which change as replicas come and go.
//!
//! All threads of a process share a resolver, so it also tells them what happens to each other's links.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc, mpsc::RecvTimeoutError};
use std::{io, mem, thread, time::Duration};

use credentials::ClientTls;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::dial::Dial;
use crate::endpoints::Endpoints;
use crate::replica_log::ReplicaLog;
use crate::telemetry;

/// How long a new replica may go unnoticed.
pub(crate) const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest pause between two lookups.
pub(crate) const LOOKUP_PAUSE: Duration = Duration::from_millis(200);
/// How long to wait after a change of a link before reacting to it. Without this pause, threads whose
/// replicas hang up as soon as they have answered would wake each other again and again.
pub(crate) const REACTION_DELAY: Duration = Duration::from_millis(10);

/// The replicas of the users service, as all threads of a process know them. Clones share it.
#[derive(Clone)]
pub struct Resolver {
    /// The addresses, as they change, each with the host whose address it is.
    pub(crate) addresses: watch::Receiver<BTreeMap<SocketAddr, String>>,
    /// Why the last lookup of a name failed, or that none has ended yet.
    lookup_faults: Arc<Mutex<BTreeMap<String, String>>>,
    pub(crate) dial: Dial,
    /// To the thread that does the lookups, which ends with the last clone.
    lookup_requests: mpsc::SyncSender<()>,
    pub(crate) log: ReplicaLog,
    /// Threads that have lost their last link, or begin without one.
    pub(crate) threads_without_link: Arc<AtomicUsize>,
    /// A replica has been able to serve.
    has_served: Arc<AtomicBool>,
    /// A link has come up, so replicas are back; or one is down or not serving, so others are needed.
    pub(crate) link_changed: Arc<Notify>,
}

impl Resolver {
    /// Looks up the addresses behind `endpoints`, again and again. Links to them are made by `tls`, if there is
    /// one; the certificate of a replica must then be for the host by which it was found.
    ///
    /// A name that cannot be looked up keeps the addresses that it had.
    pub fn start(endpoints: &Endpoints, tls: Option<ClientTls>) -> Self {
        let dial = tls.map_or(Dial::Tcp, Dial::Tls);
        let (resolver, lookups) = Self::new(endpoints, dial);
        // A lookup blocks for as long as the name server likes, so it gets a thread.
        thread::spawn(move || lookups.run());
        resolver
    }

    /// A resolver whose lookups are still to be run.
    pub(crate) fn new(endpoints: &Endpoints, dial: Dial) -> (Self, Lookups) {
        telemetry::register();
        let (publish, addresses) = watch::channel(BTreeMap::new());
        let (lookup_requests, requests) = mpsc::sync_channel(1);
        // The first lookup is due at once.
        let _ = lookup_requests.try_send(());
        let names = endpoints.0.iter().cloned();
        let names: Vec<_> = names
            .map(|text| Name {
                text,
                addresses: Vec::new(),
                fault: Some("the name is still being looked up".into()),
                is_failing: false,
            })
            .collect();
        let lookup_faults = Arc::new(Mutex::new(faults(&names)));

        let lookups = Lookups {
            names,
            requests,
            publish,
            faults: lookup_faults.clone(),
        };
        let resolver = Self {
            addresses,
            lookup_faults,
            dial,
            lookup_requests,
            log: ReplicaLog::default(),
            threads_without_link: Arc::default(),
            has_served: Arc::default(),
            link_changed: Arc::default(),
        };
        (resolver, lookups)
    }

    /// Has the names looked up soon.
    pub(crate) fn request_lookup(&self) {
        let _ = self.lookup_requests.try_send(());
    }

    /// Why the last lookup of a name failed, or that none has ended yet, by the names as their user wrote them.
    pub(crate) fn lookup_faults(&self) -> BTreeMap<String, String> {
        let faults = self.lookup_faults.lock();
        faults.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails with why calls cannot be expected to be carried out. A service that could be, and cannot any more, for
    /// example because its database is away, is no reason: another client would not fare better.
    pub fn check_readiness(&self) -> Result<(), &'static str> {
        if self.threads_without_link.load(Relaxed) > 0 {
            return Err("a thread has no link to the users service");
        }
        if !self.has_served.load(Relaxed) {
            return Err("the users service has not been able to serve yet");
        }
        Ok(())
    }

    /// A replica says that it can serve.
    pub(crate) fn set_served(&self) {
        self.has_served.store(true, Relaxed);
    }

    /// Waits for `pause`, or until just after a link of any thread has changed.
    pub(crate) async fn pause_until_link_change(&self, pause: Duration) {
        if timeout(pause, self.link_changed.notified()).await.is_ok() {
            sleep(REACTION_DELAY).await;
        }
    }
}

/// The lookups of the names, for the thread that does them.
pub struct Lookups {
    names: Vec<Name>,
    pub(crate) requests: mpsc::Receiver<()>,
    publish: watch::Sender<BTreeMap<SocketAddr, String>>,
    faults: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Lookups {
    /// Looks up all names from time to time and on request, until the resolver is gone.
    fn run(mut self) {
        while self.requests.recv_timeout(LOOKUP_INTERVAL) != Err(RecvTimeoutError::Disconnected) {
            self.look_up_all(|name| Ok(name.to_socket_addrs()?.collect()));
            thread::sleep(LOOKUP_PAUSE);
        }
    }

    /// Looks up each name by `look_up`, and publishes what is found.
    pub(crate) fn look_up_all(&mut self, look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>>) {
        // One by one, as a name whose server does not answer would keep the others waiting.
        for index in 0..self.names.len() {
            self.names[index].look_up(&look_up);
            let found: BTreeMap<_, _> = self.names.iter().flat_map(Name::found).collect();
            *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults(&self.names);
            let publish = &self.publish;
            publish.send_if_modified(|known| mem::replace(known, found.clone()) != found);
        }
    }
}

/// A name, and the addresses of its last successful lookup.
struct Name {
    text: String,
    addresses: Vec<SocketAddr>,
    /// Why the last lookup found none.
    fault: Option<String>,
    is_failing: bool,
}

impl Name {
    /// Its addresses, each with the host.
    fn found(&self) -> impl Iterator<Item = (SocketAddr, String)> {
        let host = self.text.rsplit_once(':').map_or("", |(host, _)| host);
        // An IPv6 address is in brackets only to tell it from the port.
        let host = host.trim_matches(['[', ']']);
        let addresses = self.addresses.iter();
        addresses.map(move |addr| (*addr, host.to_owned()))
    }

    fn look_up(&mut self, look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>>) {
        self.fault = match look_up(&self.text) {
            Ok(found) => {
                self.addresses = found;
                self.is_failing = false;
                None
            }
            Err(error) => {
                if !mem::replace(&mut self.is_failing, true) {
                    let name = &self.text;
                    tracing::warn!(name, %error, "a name cannot be looked up; still trying");
                }
                Some(error.to_string())
            }
        };
    }
}

/// The faults of the names that have some.
fn faults(names: &[Name]) -> BTreeMap<String, String> {
    let fault = |name: &Name| Some((name.text.clone(), name.fault.clone()?));
    names.iter().filter_map(fault).collect()
}
