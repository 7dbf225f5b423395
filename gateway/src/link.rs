//! A link to the users service: one connection, made again for as long as the process runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capnp_rpc::{Disconnector, rpc_twoparty_capnp::Side};
use metrics::{counter, gauge};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use users_rpc::{transport, users_capnp::users};

/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a service is asked whether it still answers, and how long it may take. `health` is
/// bounded by half of that, whatever the database does.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long calls wait for a link that is down before they are told so at once.
const FAIL_FAST_AFTER: Duration = Duration::from_secs(1);
/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The users service cannot be reached.
#[derive(Clone, Copy, Debug)]
pub struct Down;

/// A link to the users service, up or on its way up. Lives on one thread.
pub struct Link {
    state: watch::Receiver<State>,
    all: Arc<Links>,
}

/// What the links of a process, one on each thread, know of each other.
#[derive(Default)]
pub struct Links {
    down: AtomicUsize,
    /// One of them has found the service again; the others need not wait.
    found: Notify,
}

#[derive(Clone)]
enum State {
    Down { since: Instant },
    Up(users::Client),
}

impl Link {
    /// Starts connecting to one of `addr`, hosts and ports with commas between them, and never gives up.
    ///
    /// Call it on a thread that runs a tokio local runtime; the link lasts as long as the runtime.
    pub fn new(addr: String, all: Arc<Links>) -> Self {
        let (publish, state) = watch::channel(State::Down {
            since: Instant::now(),
        });
        all.down.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(keep_connected(addr, publish, all.clone()));
        Self { state, all }
    }

    /// Whether the links of all threads are up: the next request may come to any of them.
    pub fn all_up(&self) -> bool {
        self.all.down.load(Ordering::Relaxed) == 0
    }

    /// The service to call. While the link is down, waits for it up to `deadline`; once it has been
    /// down for a second, says so at once.
    pub async fn client(&self, deadline: Instant) -> Result<users::Client, Down> {
        let since = match &*self.state.borrow() {
            State::Up(client) => return Ok(client.clone()),
            State::Down { since } => *since,
        };
        let mut state = self.state.clone();
        let patience = deadline.min(since + FAIL_FAST_AFTER);
        let up = timeout_at(
            patience,
            state.wait_for(|state| matches!(state, State::Up(_))),
        )
        .await;
        match up.map_err(|_| Down)?.map_err(|_| Down)?.clone() {
            State::Up(client) => Ok(client),
            State::Down { .. } => Err(Down),
        }
    }
}

/// A connection whose service has answered.
struct Connected {
    client: users::Client,
    /// Ends with the connection.
    connection: JoinHandle<Result<(), capnp::Error>>,
    /// Ends the connection, which dropping its other parts would not.
    disconnector: Disconnector<Side>,
}

async fn keep_connected(addr: String, state: watch::Sender<State>, all: Arc<Links>) {
    // Of all threads together.
    let up = gauge!("rpc_client_links_up");
    let mut backoff = BACKOFF.0;
    let mut reported = false;
    loop {
        match connect(&addr).await {
            Ok(Connected {
                client,
                mut connection,
                disconnector,
            }) => {
                tracing::info!(%addr, "connected to the users service");
                (backoff, reported) = (BACKOFF.0, false);
                counter!("rpc_client_connects_total").increment(1);
                up.increment(1.0);
                all.down.fetch_sub(1, Ordering::Relaxed);
                all.found.notify_waiters();
                state.send_replace(State::Up(client.clone()));
                let cause = tokio::select! {
                    ended = &mut connection => match ended {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it closed the connection".into(),
                    },
                    () = silence(&client) => "it does not answer".into(),
                };
                state.send_replace(State::Down {
                    since: Instant::now(),
                });
                up.decrement(1.0);
                all.down.fetch_add(1, Ordering::Relaxed);
                // Fails the calls in flight, so that they can be repeated elsewhere.
                let _ = disconnector.await;
                tracing::warn!(%addr, cause, "lost the users service; reconnecting");
            }
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(%addr, "cannot reach the users service; trying on: {error:#}");
            }
            Err(error) => tracing::debug!(%addr, "cannot reach the users service: {error:#}"),
        }
        // A random part, so that many gateways do not come back all at once.
        let pause = sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0));
        tokio::select! {
            () = pause => {}
            () = all.found.notified() => {}
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Completes when the service has stopped answering. TCP notices a dead machine; a process that hangs
/// keeps its connections.
async fn silence(client: &users::Client) {
    loop {
        sleep(PING_INTERVAL).await;
        if timeout(PING_TIMEOUT, client.health_request().send().promise)
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Connects to the first address of `addr` whose service can serve, or, when none can, to one that
/// at least answers.
async fn connect(addr: &str) -> anyhow::Result<Connected> {
    let mut result = Err(anyhow::anyhow!("the name has no address"));
    for candidate in resolve(addr).await? {
        match connect_to(candidate).await {
            Ok((connected, true)) => {
                hang_up(result).await;
                return Ok(connected);
            }
            Ok((connected, false)) => {
                hang_up(std::mem::replace(&mut result, Ok(connected))).await;
            }
            Err(error) if result.is_err() => result = Err(error),
            Err(_) => {}
        }
    }
    result
}

/// All addresses behind the names of `addr`, in random order: the links of many gateways spread.
async fn resolve(addr: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let mut candidates = Vec::new();
    for name in addr.split(',') {
        match lookup_host(name).await {
            Ok(found) => candidates.extend(found),
            // Not the whole error: another name may do.
            Err(error) => tracing::debug!(name, %error, "the name cannot be resolved"),
        }
    }
    anyhow::ensure!(!candidates.is_empty(), "no name can be resolved");
    fastrand::shuffle(&mut candidates);
    Ok(candidates)
}

async fn hang_up(unused: anyhow::Result<Connected>) {
    if let Ok(unused) = unused {
        let _ = unused.disconnector.await;
    }
}

/// Connects, and makes sure that a users service is at the other end, by its first answer: whether it
/// can serve now.
async fn connect_to(addr: SocketAddr) -> anyhow::Result<(Connected, bool)> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
    let mut system = transport::client(stream)?.system;
    let client: users::Client = system.bootstrap(Side::Server);
    let disconnector = system.get_disconnector();
    let connection = tokio::task::spawn_local(system);
    let answer = timeout(PING_TIMEOUT, client.health_request().send().promise).await;
    let error = match answer.map(|answer| answer.and_then(|answer| Ok(answer.get()?.get_serving())))
    {
        Ok(Ok(serving)) => {
            return Ok((
                Connected {
                    client,
                    connection,
                    disconnector,
                },
                serving,
            ));
        }
        Ok(Err(error)) => anyhow::Error::new(error).context("what answers is no users service"),
        Err(_) => anyhow::anyhow!("it accepts connections but does not answer"),
    };
    let _ = disconnector.await;
    Err(error)
}
