//! A link to the users service: one connection, made again for as long as the process runs.

use std::{io, time::Duration};

use anyhow::Context as _;
use capnp_rpc::rpc_twoparty_capnp::Side;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use users_rpc::{transport, users_capnp::users};

/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a new connection's service may take to answer its first call.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
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
}

#[derive(Clone)]
enum State {
    Down { since: Instant },
    Up(users::Client),
}

impl Link {
    /// Starts connecting to `addr`, a host and port, and never gives up.
    ///
    /// Call it on a thread that runs a tokio local runtime; the link lasts as long as the runtime.
    pub fn new(addr: String) -> Self {
        let (publish, state) = watch::channel(State::Down {
            since: Instant::now(),
        });
        tokio::task::spawn_local(keep_connected(addr, publish));
        Self { state }
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

async fn keep_connected(addr: String, state: watch::Sender<State>) {
    let mut backoff = BACKOFF.0;
    let mut reported = false;
    loop {
        match connect(&addr).await {
            Ok((client, connection)) => {
                tracing::info!(%addr, "connected to the users service");
                (backoff, reported) = (BACKOFF.0, false);
                let up = Instant::now();
                state.send_replace(State::Up(client));
                let end = connection.await;
                state.send_replace(State::Down {
                    since: Instant::now(),
                });
                tracing::warn!(%addr, up_for = ?up.elapsed(), cause = ?end, "lost the users service; reconnecting");
            }
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(%addr, "cannot reach the users service; trying on: {error:#}");
            }
            Err(error) => tracing::debug!(%addr, "cannot reach the users service: {error:#}"),
        }
        // Full jitter in the upper half, so that many gateways do not come back all at once.
        sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Connects to the first address of `addr` whose service answers. The task ends with the connection.
async fn connect(
    addr: &str,
) -> anyhow::Result<(users::Client, JoinHandle<Result<(), capnp::Error>>)> {
    let mut last = anyhow::anyhow!("the name has no address");
    for candidate in lookup_host(addr)
        .await
        .context("the name cannot be resolved")?
    {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => return greet(stream).await,
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = io::Error::from(io::ErrorKind::TimedOut).into(),
        }
    }
    Err(last)
}

/// Makes sure that a users service is at the other end, by its first answer.
async fn greet(
    stream: TcpStream,
) -> anyhow::Result<(users::Client, JoinHandle<Result<(), capnp::Error>>)> {
    let mut system = transport::client(stream)?.system;
    let client: users::Client = system.bootstrap(Side::Server);
    let disconnector = system.get_disconnector();
    let connection = tokio::task::spawn_local(system);
    let answer = timeout(GREETING_TIMEOUT, client.health_request().send().promise).await;
    if let Ok(Ok(_)) = answer {
        return Ok((client, connection));
    }
    // The system ends only by its disconnector; dropping the handle would leave it open.
    tokio::task::spawn_local(disconnector);
    match answer {
        Ok(Err(error)) => Err(error).context("the users service did not answer as one"),
        _ => anyhow::bail!("the users service accepted the connection but does not answer"),
    }
}
