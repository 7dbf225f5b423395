//! One link's life: connecting to a replica, checking its health, draining and closing.

use std::{cell::Cell, io, ops::Range, rc::Rc, time::Duration};

use capnp::ErrorKind;
use capnp_rpc::{Disconnector, rpc_twoparty_capnp::Side};
use futures::future::OptionFuture;
use metrics::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::capability::UsersCapability;
use crate::dial::Dialled;
use crate::faults::Replica;
use crate::resolver::Resolver;
use crate::telemetry::{self, Counted};

/// Pause between two health checks of a replica that serves.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two health checks of a replica that does not serve, or does not answer calls.
const RECHECK_PAUSE: Duration = Duration::from_millis(100);
/// How long a health check may take. The service bounds it by half of that, whatever its database does.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// A replica with outstanding calls and no response for this long is used only if no other is healthy: a
/// process that hangs keeps its connections.
pub const SILENT_AFTER: Duration = Duration::from_millis(200);
/// How long calls may still run on the link to a replica whose address is gone.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The parts of the time to the end of a link's certificates between which it is replaced. The part is random, so
/// that links that were made together are not replaced together. A service ends the link later by itself.
const REPLACED_AT: Range<f64> = 0.7..0.9;
/// How long a link stays at least. Its certificates may have expired by this machine's clock and not by the other's:
/// then each link that replaces it would be due for replacement at once.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// Characters of an error that a log line shows.
const MAX_SHOWN: usize = 200;

/// A call that has been sent, and completes with its decoded response.
pub trait PendingCall<T>: Future<Output = capnp::Result<T>> + 'static {}

impl<T, F: Future<Output = capnp::Result<T>> + 'static> PendingCall<T> for F {}

/// An error whose text the other end may have chosen, fit for a log line.
pub fn one_line(error: &capnp::Error) -> String {
    let text = error.to_string();
    text.escape_debug().take(MAX_SHOWN).collect()
}

/// A connection to a replica that has answered, as its calls use it.
pub struct Link {
    pub replica: Replica,
    pub users: UsersCapability,
    resolver: Resolver,
    /// The calls in flight.
    pub calls: TaskTracker,
    /// Those of all links. Finding it for each call would cost more than counting the call.
    active_calls: Gauge,
    /// When the balancer chose it last.
    pub chosen_at: Cell<Instant>,
    /// When the last response came, or when an idle link got its first call.
    last_response_at: Cell<Instant>,
    /// Whether the last response was neither a refusal nor a failure.
    is_serving: Cell<bool>,
}

impl Link {
    pub fn is_healthy(&self, now: Instant) -> bool {
        self.is_serving.get() && !self.is_silent(now)
    }

    fn is_silent(&self, now: Instant) -> bool {
        !self.calls.is_empty() && now >= self.last_response_at.get() + SILENT_AFTER
    }

    /// Runs a call of this link to its end, whether or not someone still waits for it: a call that is
    /// dropped leaks memory at both ends until the connection closes (capnp-rpc 0.27).
    pub fn spawn_call<T: 'static>(
        self: Rc<Self>,
        in_flight_permit: OwnedSemaphorePermit,
        call: impl PendingCall<T>,
    ) -> JoinHandle<capnp::Result<T>> {
        if self.calls.is_empty() {
            self.last_response_at.set(Instant::now());
        }
        let link = self.clone();
        self.calls.spawn_local(async move {
            let _in_flight = (in_flight_permit, Counted::new(link.active_calls.clone()));
            let response = call.await;
            link.last_response_at.set(Instant::now());
            // After a refusal or a failure the replica is avoided until it says that it serves.
            let is_fault = |error: &capnp::Error| error.kind != ErrorKind::Unimplemented;
            if response.as_ref().is_err_and(is_fault) && link.is_serving.replace(false) {
                link.resolver.link_changed.notify_waiters();
            }
            response
        })
    }

    /// Lets the calls in flight end, within a limit.
    pub async fn drain(&self) {
        self.calls.close();
        let _ = timeout(DRAIN_TIMEOUT, self.calls.wait()).await;
    }

    /// Waits until calls get no answer.
    async fn silence(&self) {
        loop {
            sleep(RECHECK_PAUSE).await;
            if self.is_silent(Instant::now()) {
                return;
            }
        }
    }

    fn set_serving(&self, serving: bool) {
        self.is_serving.set(serving);
        if serving {
            self.resolver.set_served();
        }
    }

    /// Checks the replica's health until it does not answer: TCP notices a dead machine, but not a process
    /// that hangs. Calls that get no answer have it checked at once, as all that came together wait for it.
    async fn check_health(&self) {
        loop {
            let serves = self.is_serving.get();
            let pause = if serves { CHECK_PAUSE } else { RECHECK_PAUSE };
            tokio::select! {
                () = self.resolver.pause_until_link_change(pause) => {}
                () = self.silence() => {}
            }
            match timeout(CHECK_TIMEOUT, self.users.can_serve()).await {
                Ok(serving) => self.set_serving(serving.unwrap_or(false)),
                Err(_) => return,
            }
        }
    }
}

/// A link, and the handles that watch and end its connection.
pub struct ConnectedLink {
    pub link: Rc<Link>,
    rpc_system: JoinHandle<Result<(), capnp::Error>>,
    /// Ends the connection, which dropping its other parts would not.
    pub disconnector: Disconnector<Side>,
    /// When it should be replaced. `None`: it can stay for ever.
    pub replace_at: Option<Instant>,
}

/// Why a link is not followed any more.
pub enum Ended {
    /// It is lost, for this reason.
    Lost(String),
    /// A certificate will expire.
    Expiring,
}

impl ConnectedLink {
    /// Connects, and makes sure by a first answer that a users service is at the other end.
    pub async fn connect(replica: &Replica, resolver: Resolver) -> io::Result<Self> {
        let Dialled {
            mut system,
            expires_in,
        } = resolver.dial.connect(replica).await?;

        let users = UsersCapability::identify(system.bootstrap(Side::Server));
        let disconnector = system.get_disconnector();
        let rpc_system = spawn_local(system);

        let fault = match timeout(CHECK_TIMEOUT, users).await {
            Ok(Ok((users, is_serving))) => {
                let link = Rc::new(Link {
                    replica: replica.clone(),
                    users,
                    resolver,
                    calls: TaskTracker::new(),
                    active_calls: telemetry::active_calls(),
                    chosen_at: Cell::new(Instant::now()),
                    last_response_at: Cell::new(Instant::now()),
                    is_serving: Cell::new(false),
                });
                link.set_serving(is_serving);
                return Ok(Self {
                    link,
                    rpc_system,
                    disconnector,
                    replace_at: expires_in.map(replacement_of),
                });
            }
            Ok(Err(error)) => {
                let hint = resolver.dial.hint();
                format!("no users service lets us in; {hint}: {}", one_line(&error))
            }
            Err(_) => "it accepts connections but does not answer".into(),
        };

        let _ = disconnector.await;
        Err(io::Error::other(fault))
    }

    /// Completes when the link is lost or should be replaced.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            // A link that is lost at the same time needs no replacement.
            biased;
            ended = &mut self.rpc_system => Ended::Lost(match ended {
                Ok(Err(error)) => one_line(&error),
                _ => "it closed the connection".into(),
            }),
            () = self.link.check_health() => Ended::Lost("it does not answer".into()),
            Some(()) = OptionFuture::from(self.replace_at.map(sleep_until)) => Ended::Expiring,
        }
    }

    /// Lets the calls in flight end, and then ends the connection.
    pub async fn retire(self) {
        self.link.drain().await;
        let _ = self.disconnector.await;
    }
}

/// When to replace a link whose certificates end in `left`.
fn replacement_of(left: Duration) -> Instant {
    let part = REPLACED_AT.start + fastrand::f64() * (REPLACED_AT.end - REPLACED_AT.start);
    Instant::now() + left.mul_f64(part).max(MIN_LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_the_other_end_is_one_short_line() {
        let reason = "no\nWARN forged\u{1b}[2J".to_owned();
        let shown = one_line(&capnp::Error::failed(reason.clone()));
        assert_eq!(shown, r"Failed: no\nWARN forged\u{1b}[2J");
        let shown = one_line(&capnp::Error::failed(reason.repeat(10_000)));
        assert_eq!(shown.chars().count(), MAX_SHOWN);
    }
}
