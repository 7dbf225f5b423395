//! Connections of the Users capability: what they share, their limits, panics and draining.

use std::{
    cell::Cell,
    future::Future,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::FutureExt as _;
use process::workers::{self, Worker};
use tokio::{net::TcpStream, sync::Notify, task::yield_now};
use tokio_util::sync::CancellationToken;
use users_rpc::{transport, users_capnp::users};
use uuid::Uuid;

use crate::{
    Config,
    batch::{Batcher, Failure, Queue},
    rules::NewUser,
    store::{Inserted, Store, User},
};

/// What the workers of a process share.
pub struct Shared {
    inserts: Arc<Queue<NewUser, Inserted>>,
    gets: Arc<Queue<Uuid, Option<User>>>,
    pages: Arc<Queue<(Uuid, u32), Vec<User>>>,
    probes: Arc<Queue<(), bool>>,
    /// Whether the schema has been checked; before that, no call is let through.
    ready: Arc<AtomicBool>,
}

impl Shared {
    /// Queues in front of `store`, of which each uses at most half of the pool's connections.
    #[must_use]
    pub fn new(config: &Config, store: &Arc<Store>, ready: Arc<AtomicBool>) -> Self {
        let max_batch = config.max_batch;
        let half = config.database_pool_size.div_ceil(2);
        let (inserter, getter, pager, prober) =
            (store.clone(), store.clone(), store.clone(), store.clone());
        Self {
            inserts: Queue::new(max_batch, half, move |users: Vec<NewUser>| {
                inserter.insert(&users)
            }),
            gets: Queue::new(max_batch, half, move |ids: Vec<Uuid>| getter.get(&ids)),
            pages: Queue::new(1, half, move |pages: Vec<(Uuid, u32)>| {
                pages
                    .into_iter()
                    .map(|(after, size)| pager.page(after, size.into()))
                    .collect()
            }),
            // However many ask at once, the database is asked once.
            probes: Queue::new(usize::MAX, 1, move |asked: Vec<()>| {
                vec![Ok(prober.writable()); asked.len()]
            }),
            ready,
        }
    }
}

/// Serves the Users capability on the connections of one thread.
pub struct UsersWorker(Rc<Service>);

/// What the connections of one thread share.
pub struct Service {
    pub inserts: Batcher<NewUser, Inserted>,
    pub gets: Batcher<Uuid, Option<User>>,
    pub pages: Batcher<(Uuid, u32), Vec<User>>,
    pub probes: Batcher<(), bool>,
    ready: Arc<AtomicBool>,
    draining: CancellationToken,
    max_in_flight: usize,
    in_flight: Cell<usize>,
}

/// The bootstrap capability of one connection.
pub struct UsersOfConnection {
    pub service: Rc<Service>,
    /// Calls of this connection that have not been answered, and who waits for there to be none.
    unanswered: Cell<usize>,
    all_answered: Notify,
}

impl UsersWorker {
    /// Makes the worker of this thread, inside its runtime.
    #[must_use]
    pub fn new(config: &Config, shared: &Shared, draining: CancellationToken) -> Self {
        Self(Rc::new(Service {
            inserts: Batcher::new(shared.inserts.clone()),
            gets: Batcher::new(shared.gets.clone()),
            pages: Batcher::new(shared.pages.clone()),
            probes: Batcher::new(shared.probes.clone()),
            ready: shared.ready.clone(),
            draining,
            // The cap is the process's; each thread watches over its share.
            max_in_flight: config
                .max_in_flight
                .div_ceil(workers::count(&config.process)),
            in_flight: Cell::new(0),
        }))
    }
}

impl Worker for UsersWorker {
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        let users = Rc::new(UsersOfConnection {
            service: self.0.clone(),
            unanswered: Cell::new(0),
            all_answered: Notify::new(),
        });
        let bootstrap: users::Client = capnp_rpc::new_client_from_rc(users.clone());
        let connection = match transport::server(stream, bootstrap.client) {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!(%error, "the peer is gone already"),
        };
        let disconnector = connection.system.get_disconnector();
        let mut system = tokio::task::spawn_local(connection.system);
        tokio::select! {
            ended = &mut system => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "closed an RPC connection"),
                Err(error) => tracing::error!(%error, "an RPC connection panicked"),
            },
            () = draining.cancelled() => {
                // New calls are refused from now on; what has begun is answered.
                users.all_answered().await;
                // The last answers leave the RPC system in the turns that follow.
                for _ in 0..4 {
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

impl Service {
    /// Whether calls are let through: the schema has been checked, and the process is not stopping.
    pub fn accepts(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.draining.is_cancelled()
    }
}

impl UsersOfConnection {
    /// Runs a call: within the limits, and so that a panic costs this call only.
    pub async fn answer<F>(&self, call: impl FnOnce(Rc<Service>) -> F) -> Result<(), capnp::Error>
    where
        F: Future<Output = Result<(), capnp::Error>>,
    {
        let service = self.service.clone();
        let refused = !service.accepts()
            || service.in_flight.get() >= service.max_in_flight
            // One connection does not get everything: others can still be served.
            || self.unanswered.get() >= service.max_in_flight.div_ceil(2);
        if refused {
            return Err(Failure::Overloaded.into());
        }
        let _counted = Counted::new(self);
        contained(call(service)).await
    }

    async fn all_answered(&self) {
        while self.unanswered.get() > 0 {
            self.all_answered.notified().await;
        }
    }
}

/// Turns a panic into a failure of this call only; unwinding into the RPC system would end the
/// connection and fail all its calls.
async fn contained(
    call: impl Future<Output = Result<(), capnp::Error>>,
) -> Result<(), capnp::Error> {
    AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("a call panicked");
            Err(Failure::Unknown.into())
        })
}

/// A call in flight.
struct Counted<'a>(&'a UsersOfConnection);

impl<'a> Counted<'a> {
    fn new(users: &'a UsersOfConnection) -> Self {
        users.unanswered.set(users.unanswered.get() + 1);
        users
            .service
            .in_flight
            .set(users.service.in_flight.get() + 1);
        Self(users)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Self(users) = self;
        users
            .service
            .in_flight
            .set(users.service.in_flight.get() - 1);
        users.unanswered.set(users.unanswered.get() - 1);
        if users.unanswered.get() == 0 {
            users.all_answered.notify_one();
        }
    }
}

impl From<Failure> for capnp::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Overloaded => Self::overloaded(failure.to_string()),
            Failure::Unknown => Self::failed(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use capnp::ErrorKind;
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_panic_fails_its_own_call_and_says_nothing_about_itself() {
        let error = block_on(contained(async { panic!("secret") })).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(!error.extra.contains("secret"));
    }
}
