//! A connection, from when it is accepted to when it has drained.

use std::rc::Rc;

use service_runtime::workers::Worker;
use tokio::net::TcpStream;
use tokio::task::{spawn_local, yield_now};
use tokio_util::sync::CancellationToken;
use users_rpc::transport;

use crate::call::{Admission, Calls};
use crate::queues::{QueueHandles, Queues};
use crate::service::UsersService;

/// Turns of the event loop that the RPC system takes at most to hand the last answers to the writer.
const TURNS_TO_ANSWER: usize = 4;

/// Serves the `Users` capability on the connections of one thread.
pub struct UsersWorker {
    admission: Admission,
    queues: Rc<QueueHandles>,
}

impl UsersWorker {
    /// Makes the worker of this thread, inside its runtime.
    pub fn new(admission: Admission, queues: &Queues) -> Self {
        Self {
            admission,
            queues: Rc::new(queues.handles()),
        }
    }
}

impl Worker for UsersWorker {
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        if let Err(error) = transport::set_socket_options(&stream) {
            return tracing::debug!(%error, "the peer is gone already");
        }
        // A child, because a connection can also drain by itself.
        let draining = draining.child_token();
        let calls = Rc::new(Calls::new(self.admission.clone(), draining.clone()));
        let bootstrap = UsersService::bootstrap(calls.clone(), self.queues.clone());
        let connection = transport::server(stream, bootstrap);
        let disconnector = connection.system.get_disconnector();
        let mut system = spawn_local(connection.system);

        tokio::select! {
            ended = &mut system => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "closed an RPC connection"),
                Err(error) => tracing::error!(%error, "an RPC connection panicked"),
            },
            () = draining.cancelled() => {
                // New calls are refused from now on; those in flight are answered.
                calls.all_answered().await;
                for _ in 0..TURNS_TO_ANSWER {
                    yield_now().await;
                }
                let _ = disconnector.await;
                let _ = system.await;
            }
        }
        // Everything that was said gets out.
        let _ = connection.writer.await;
    }
}
