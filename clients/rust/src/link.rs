//! The links of one thread, one to each replica, and which of them a call takes.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use capnp::ErrorKind;
use capnp_rpc::{Disconnector, rpc_twoparty_capnp::Side};
use metrics::{counter, gauge};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use users_rpc::{transport, users_capnp::users};

use crate::Resolver;

/// How long a replica may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a replica is asked whether it still answers, and how long it may take. `health` is
/// bounded by half of that, whatever the database does.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval for a replica that does not serve.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How soon after news, which can mean that it is needed, a replica is asked or connected to again.
const RECHECK_PAUSE: Duration = Duration::from_millis(10);
/// A replica that owes answers and has given none for so long gets new calls only when the others are
/// no better. A process that hangs keeps its connections.
const SILENT_AFTER: Duration = Duration::from_millis(200);
/// How long calls wait for a first link before they are told at once that there is none.
const FAIL_FAST_AFTER: Duration = Duration::from_secs(1);
/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long calls may still run on the link to a replica whose address is gone.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// No replica of the users service can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Down;

/// The links of one thread.
pub struct Links {
    replicas: Resolver,
    up: RefCell<Vec<Rc<Link>>>,
    /// Since when there has been no link.
    down_since: watch::Sender<Option<Instant>>,
}

/// A connection to a replica that has answered.
pub struct Link {
    pub client: users::Client,
    in_flight: Cell<usize>,
    /// When the last answer came, or the oldest call was made if it was alone.
    heard: Cell<Instant>,
    /// Whether its last answer was a good one.
    serving: Cell<bool>,
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

    fn add(&self, link: Rc<Link>) {
        counter!("rpc_client_connects_total").increment(1);
        // Of all threads together.
        gauge!("rpc_client_links_up").increment(1.0);
        self.up.borrow_mut().push(link);
        if self.down_since.send_replace(None).is_some() {
            self.replicas.thread_is_up();
        }
        self.replicas.news().notify_waiters();
    }

    fn remove(&self, link: &Rc<Link>) {
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

impl Link {
    /// Counts a call in.
    pub fn begin(&self) {
        if self.in_flight.get() == 0 {
            self.heard.set(Instant::now());
        }
        self.in_flight.set(self.in_flight.get() + 1);
    }

    fn is_well(&self, now: Instant) -> bool {
        self.serving.get() && (self.in_flight.get() == 0 || now < self.heard.get() + SILENT_AFTER)
    }

    /// Completes when the replica has stopped answering. TCP notices a dead machine, not a process
    /// that hangs.
    async fn silence(&self, replicas: &Resolver) {
        loop {
            let interval = if self.serving.get() {
                PING_INTERVAL
            } else {
                RECHECK_INTERVAL
            };
            tokio::select! {
                () = sleep(interval) => {}
                () = replicas.news().notified() => sleep(RECHECK_PAUSE).await,
            }
            match timeout(PING_TIMEOUT, serves(&self.client)).await {
                Ok(answer) => self.serving.set(answer.unwrap_or(false)),
                Err(_) => return,
            }
        }
    }
}

/// Keeps a link to each address, as the addresses come and go.
async fn follow(links: Rc<Links>) {
    let mut addresses = links.replicas.addresses();
    let mut kept: HashMap<SocketAddr, DropGuard> = HashMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        kept.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            kept.entry(addr).or_insert_with(|| {
                let retired = CancellationToken::new();
                spawn_local(keep_connected(addr, links.clone(), retired.clone()));
                retired.drop_guard()
            });
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to `addr` until it is `retired`.
async fn keep_connected(addr: SocketAddr, links: Rc<Links>, retired: CancellationToken) {
    let mut backoff = BACKOFF.0;
    let mut reported = false;
    while !retired.is_cancelled() {
        match connect(addr).await {
            Ok(mut connected) => {
                tracing::info!(%addr, "connected to the users service");
                (backoff, reported) = (BACKOFF.0, false);
                let link = &connected.link;
                links.add(link.clone());
                let cause = tokio::select! {
                    ended = &mut connected.connection => match ended {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it closed the connection".into(),
                    },
                    () = link.silence(&links.replicas) => "it does not answer".into(),
                    () = retired.cancelled() => "its address is gone".into(),
                };
                links.remove(link);
                if retired.is_cancelled() {
                    let idle = async {
                        while link.in_flight.get() > 0 {
                            sleep(BACKOFF.0).await;
                        }
                    };
                    let _ = timeout(RETIRE_TIMEOUT, idle).await;
                }
                // Fails the calls in flight, so that they can be repeated elsewhere.
                let _ = connected.disconnector.await;
                if retired.is_cancelled() {
                    tracing::info!(%addr, cause, "left a users service");
                } else {
                    tracing::warn!(%addr, cause, "lost a users service");
                    links.replicas.look_again();
                }
            }
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(%addr, %error, "cannot reach a users service; trying on");
            }
            Err(error) => tracing::debug!(%addr, %error, "cannot reach a users service"),
        }
        // A random part, so that many clients do not come back all at once.
        let pause = sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0));
        tokio::select! {
            () = pause => {}
            // Never at once: with a replica that hangs up as soon as it has answered, threads would
            // send each other round and round.
            () = links.replicas.news().notified() => sleep(RECHECK_PAUSE).await,
            () = retired.cancelled() => {}
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// A connection whose service has answered.
struct Connected {
    link: Rc<Link>,
    /// Ends with the connection.
    connection: JoinHandle<Result<(), capnp::Error>>,
    /// Ends the connection, which dropping its other parts would not.
    disconnector: Disconnector<Side>,
}

/// Connects, and makes sure that a users service is at the other end, by its first answer.
async fn connect(addr: SocketAddr) -> io::Result<Connected> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
    transport::set_socket_options(&stream)?;
    let mut system = transport::client(stream).system;
    let client: users::Client = system.bootstrap(Side::Server);
    let disconnector = system.get_disconnector();
    let connection = spawn_local(system);
    let error = match timeout(PING_TIMEOUT, serves(&client)).await {
        Ok(Ok(serving)) => {
            let link = Rc::new(Link {
                client,
                in_flight: Cell::new(0),
                heard: Cell::new(Instant::now()),
                serving: Cell::new(serving),
            });
            return Ok(Connected {
                link,
                connection,
                disconnector,
            });
        }
        Ok(Err(error)) => format!("what answers is no users service: {error}"),
        Err(_) => "it accepts connections but does not answer".into(),
    };
    let _ = disconnector.await;
    Err(io::Error::other(error))
}

/// Whether a service says that it can serve. One from before there was such a question can.
async fn serves(client: &users::Client) -> capnp::Result<bool> {
    match client.health_request().send().promise.await {
        Ok(answer) => Ok(answer.get()?.get_serving()),
        Err(error) if error.kind == ErrorKind::Unimplemented => Ok(true),
        Err(error) => Err(error),
    }
}
