//! A connection, from when it is accepted to when it has drained.

use std::{fmt::Display, io::ErrorKind, rc::Rc, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use service_runtime::{logging::one_line, throttle::Throttle, workers::Worker};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use users_rpc::transport::{self, PeerGuard};

use crate::access::{Admitted, MutualTls};
use crate::call::{Admission, Calls};
use crate::queues::{QueueHandles, Queues};
use crate::service;

/// Turns of the event loop that the RPC system takes at most to hand the last answers to the writer.
const TURNS_TO_ANSWER: usize = 4;
/// Pause between two log lines on the ends of connections. A peer that connects again at once must not fill
/// the log.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Serves the capabilities of users on the connections of one thread.
pub struct UsersWorker {
    admission: Admission,
    /// `None`: anyone may come in.
    mutual_tls: Option<MutualTls>,
    queues: Rc<QueueHandles>,
    /// Lines on the ends of connections.
    ends: Throttle<()>,
}

/// A connection whose peer has been admitted.
struct PeerConnection {
    connection: transport::Connection,
    /// When it must drain; `None`: it has no end.
    until: Option<Instant>,
    calls: Rc<Calls>,
    draining: CancellationToken,
}

impl UsersWorker {
    /// Makes the worker of this thread, inside its runtime.
    pub fn new(admission: Admission, mutual_tls: Option<MutualTls>, queues: &Queues) -> Self {
        // If there can be no thread for the batches, the service is to fail now, and not at its first call.
        spawn_blocking(|| ());
        Self {
            admission,
            mutual_tls,
            queues: Rc::new(queues.handles()),
            ends: Throttle::new(LOG_PAUSE),
        }
    }

    /// Logs why a connection ends.
    fn log_end(&self, reason: &dyn Display) {
        if let Some(left_out) = self.ends.admit(()) {
            tracing::info!(reason = %one_line(reason), left_out, "ended an RPC connection");
        }
    }

    /// Begins to serve a peer that has been admitted.
    fn begin(
        &self,
        stream: impl transport::Stream,
        peer: Admitted,
        guard: Rc<PeerGuard>,
        draining: CancellationToken,
    ) -> PeerConnection {
        let admission = self.admission.clone();
        let calls = Calls::new(admission, peer.role, guard.clone(), draining.clone());
        let calls = Rc::new(calls);
        let bootstrap = service::bootstrap(peer.role, calls.clone(), self.queues.clone());
        PeerConnection {
            connection: transport::guarded_server(stream, bootstrap, guard),
            until: peer.until,
            calls,
            draining,
        }
    }

    /// Makes the handshake with a peer, and begins to serve it. `None`: it may not come in, or the process stops.
    async fn admit(
        &self,
        mutual_tls: &MutualTls,
        stream: TcpStream,
        guard: Rc<PeerGuard>,
        draining: CancellationToken,
    ) -> Option<PeerConnection> {
        let admit = mutual_tls.admit(stream, guard.clone());
        match draining.run_until_cancelled(admit).await? {
            Ok((stream, peer)) => return Some(self.begin(stream, peer, guard, draining)),
            // A probe of a platform connects and hangs up.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => self.log_end(&format_args!("TLS: {error}")),
        }
        None
    }

    /// Serves a peer until one of both ends the connection.
    async fn serve_peer(&self, peer: PeerConnection) {
        let PeerConnection {
            connection,
            until,
            calls,
            draining,
        } = peer;
        let disconnector = connection.system.get_disconnector();
        let mut system = spawn_local(connection.system);

        // New calls are refused from when it is cancelled; those in flight are answered.
        let drained = async {
            tokio::select! {
                () = draining.cancelled() => {}
                () = calls.guard.exceeded() => {
                    self.log_end(&"draining it, because its peer leaves too much open");
                }
                Some(()) = OptionFuture::from(until.map(sleep_until)) => {
                    self.log_end(&"draining it, because its peer's certificate expires");
                }
            }
            draining.cancel();
            calls.all_answered().await;
            for _ in 0..TURNS_TO_ANSWER {
                yield_now().await;
            }
        };

        tokio::select! {
            ended = &mut system => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.log_end(&error),
                Err(error) => tracing::error!(%error, "an RPC connection panicked"),
            },
            () = drained => {
                let _ = disconnector.await;
                let _ = system.await;
            }
        }

        // Everything that was said gets out.
        let _ = connection.writer.await;
    }
}

impl Worker for UsersWorker {
    /// Links are idle most of the time and wanted all the same, so none makes room for another.
    async fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        draining: CancellationToken,
        _place_wanted: Arc<Notify>,
    ) {
        if let Err(error) = transport::set_socket_options(&stream) {
            return tracing::debug!(%error, "the peer is gone already");
        }
        // A child, because a connection can also drain by itself.
        let draining = draining.child_token();
        let guard = self.admission.guard();
        let peer = match &self.mutual_tls {
            None => self.begin(stream, Admitted::ANYONE, guard, draining),
            Some(mutual_tls) => {
                let admit = self.admit(mutual_tls, stream, guard, draining);
                // In a box, whose space is given back when the handshake has been made.
                let Some(peer) = Box::pin(admit).await else {
                    return;
                };
                peer
            }
        };
        self.serve_peer(peer).await;
    }
}
