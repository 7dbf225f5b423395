//! Connections of the Users capability: what they share, their limits, panics and draining.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use capnp::ErrorKind;
use futures::FutureExt as _;
use metrics::{Gauge, Histogram, gauge, histogram};
use service_runtime::{
    trace::{Span, SpanKind, TraceContext},
    workers::{self, Worker},
};
use tokio::{net::TcpStream, sync::Notify, task::yield_now, time::Instant};
use tokio_util::sync::CancellationToken;
use users_rpc::{
    transport,
    users_capnp::{call_context, users},
};
use uuid::Uuid;

use crate::{
    Settings,
    group_commit::{Batcher, Failure, Queue},
    store::{Inserted, Store, User},
    user::NewUser,
};

/// Calls that a connection may give up, each of which leaves a fifth of a KiB behind until it closes
/// (capnp-rpc 0.27 forgets to return them). Then it is drained, and its peer connects anew.
const MAX_GIVEN_UP: usize = 10_000;

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
    pub fn new(settings: &Settings, store: &Arc<Store>, ready: Arc<AtomicBool>) -> Self {
        let max_batch = settings.max_batch;
        let half = settings.database_pool_size.div_ceil(2);
        let (inserter, getter, pager, prober) =
            (store.clone(), store.clone(), store.clone(), store.clone());
        Self {
            inserts: Queue::new(
                "INSERT users",
                max_batch,
                half,
                move |users: Vec<NewUser>| inserter.insert(&users),
            ),
            gets: Queue::new(
                "SELECT users by id",
                max_batch,
                half,
                move |ids: Vec<Uuid>| getter.get(&ids),
            ),
            pages: Queue::new(
                "SELECT page of users",
                1,
                half,
                move |pages: Vec<(Uuid, u32)>| {
                    pages
                        .into_iter()
                        .map(|(after, size)| pager.page(after, size.into()))
                        .collect()
                },
            ),
            // However many ask at once, the database is asked once.
            probes: Queue::new("SELECT writable", usize::MAX, 1, move |asked: Vec<()>| {
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
    active: Gauge,
    durations: RefCell<HashMap<(&'static str, &'static str), Histogram>>,
}

/// The bootstrap capability of one connection.
pub struct UsersOfConnection {
    pub service: Rc<Service>,
    /// Calls of this connection that have not been answered, and who waits for there to be none.
    unanswered: Cell<usize>,
    all_answered: Notify,
    /// Calls that the peer did not wait for, and who waits for there to be too many.
    given_up: Cell<usize>,
    worn_out: Notify,
}

impl UsersWorker {
    /// Makes the worker of this thread, inside its runtime.
    #[must_use]
    pub fn new(settings: &Settings, shared: &Shared, draining: CancellationToken) -> Self {
        Self(Rc::new(Service {
            inserts: Batcher::new(shared.inserts.clone()),
            gets: Batcher::new(shared.gets.clone()),
            pages: Batcher::new(shared.pages.clone()),
            probes: Batcher::new(shared.probes.clone()),
            ready: shared.ready.clone(),
            draining,
            // The cap is the process's; each thread watches over its share.
            max_in_flight: settings
                .max_in_flight
                .div_ceil(workers::count(&settings.process)),
            in_flight: Cell::new(0),
            active: gauge!("rpc_server_active_calls"),
            durations: RefCell::default(),
        }))
    }
}

impl Worker for UsersWorker {
    async fn serve(self: Rc<Self>, stream: TcpStream, draining: CancellationToken) {
        let users = Rc::new(UsersOfConnection {
            service: self.0.clone(),
            unanswered: Cell::new(0),
            all_answered: Notify::new(),
            given_up: Cell::new(0),
            worn_out: Notify::new(),
        });
        let bootstrap: users::Client = capnp_rpc::new_client_from_rc(users.clone());
        if let Err(error) = transport::set_socket_options(&stream) {
            return tracing::debug!(%error, "the peer is gone already");
        }
        let connection = transport::server(stream, bootstrap.client);
        let disconnector = connection.system.get_disconnector();
        let mut system = tokio::task::spawn_local(connection.system);
        tokio::select! {
            ended = &mut system => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "closed an RPC connection"),
                Err(error) => tracing::error!(%error, "an RPC connection panicked"),
            },
            () = users.is_to_end(&draining) => {
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
    /// Runs a call: within the limits, seen by operators, and so that a panic costs this call only.
    ///
    /// `call` gets the span to do its work under.
    pub async fn answer<F>(
        &self,
        method: &'static str,
        context: call_context::Reader<'_>,
        call: impl FnOnce(Rc<Service>, TraceContext) -> F,
    ) -> Result<(), capnp::Error>
    where
        F: Future<Output = Result<(), capnp::Error>>,
    {
        let begin = Instant::now();
        let caller = context
            .get_traceparent()
            .ok()
            .and_then(|text| text.to_str().ok());
        let parent = caller.and_then(|text| text.parse().ok());
        let mut span = Span::start(method, SpanKind::Server, parent);
        let service = self.service.clone();
        let refused = !service.accepts()
            || self.given_up.get() >= MAX_GIVEN_UP
            || service.in_flight.get() >= service.max_in_flight
            // One connection does not get everything: others can still be served.
            || self.unanswered.get() >= service.max_in_flight.div_ceil(2);
        let answered = if refused {
            Err(Failure::Overloaded.into())
        } else {
            let mut counted = Counted::new(self);
            let answered = contained(call(service, span.context())).await;
            counted.answered = true;
            answered
        };
        let outcome = match &answered {
            Ok(()) => "ok",
            Err(error) if error.kind == ErrorKind::Overloaded => "overloaded",
            Err(_) => "failed",
        };
        if answered.is_err() {
            span.fail(outcome);
        }
        // Why it failed is in the log already, and the caller says whose request it was.
        tracing::debug!(
            trace_id = span.context().trace_id(),
            method,
            outcome,
            "call"
        );
        let mut durations = self.service.durations.borrow_mut();
        let duration = durations.entry((method, outcome)).or_insert_with(|| {
            histogram!(
                "rpc_server_call_duration_seconds", "rpc_method" => method, "outcome" => outcome
            )
        });
        duration.record(begin.elapsed().as_secs_f64());
        answered
    }

    async fn is_to_end(&self, draining: &CancellationToken) {
        tokio::select! {
            () = draining.cancelled() => {}
            () = self.worn_out.notified() => {
                tracing::info!("ending an RPC connection whose peer has given up too many calls");
            }
        }
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
struct Counted<'a> {
    users: &'a UsersOfConnection,
    answered: bool,
}

impl<'a> Counted<'a> {
    fn new(users: &'a UsersOfConnection) -> Self {
        users.unanswered.set(users.unanswered.get() + 1);
        users
            .service
            .in_flight
            .set(users.service.in_flight.get() + 1);
        users.service.active.increment(1.0);
        Self {
            users,
            answered: false,
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let users = self.users;
        users
            .service
            .in_flight
            .set(users.service.in_flight.get() - 1);
        users.service.active.decrement(1.0);
        users.unanswered.set(users.unanswered.get() - 1);
        if users.unanswered.get() == 0 {
            users.all_answered.notify_one();
        }
        if !self.answered {
            users.given_up.set(users.given_up.get() + 1);
            if users.given_up.get() == MAX_GIVEN_UP {
                users.worn_out.notify_one();
            }
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
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_panic_fails_its_own_call_and_says_nothing_about_itself() {
        let error = block_on(contained(async { panic!("secret") })).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(!error.extra.contains("secret"));
    }
}
