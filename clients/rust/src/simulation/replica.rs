//! A replica of the users service: real RPC, over a table of users that all replicas share.

use std::{cell::Cell, cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use capnp::{Error, ErrorKind};
use capnp_rpc::new_client;
use fastrand::Rng;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use users_rpc::transport;
use users_rpc::users_capnp::{call_context, users};

use super::network::Route;
use super::trace::{Behaviour, CallId, Event};
use super::wire_tap::call_of;

/// How long calls wait at a slow replica, at most.
const SLOW_MS: u64 = 2000;
/// How long they take otherwise, at most.
const FAST_MS: u64 = 5;

/// The users, as a database that never fails keeps them for all replicas: ids, and the calls that stored them.
pub type UsersTable = Rc<RefCell<BTreeMap<String, CallId>>>;

/// A replica. Its process comes and goes.
pub struct SimulatedReplica {
    pub route: Rc<Route>,
    pub behaviour: Cell<Behaviour>,
    behaviour_changed: Notify,
    rng: RefCell<Rng>,
    table: UsersTable,
    /// Ends everything that the process does.
    process: RefCell<Option<CancellationToken>>,
}

impl SimulatedReplica {
    pub fn new(route: Rc<Route>, rng: Rng, table: UsersTable) -> Rc<Self> {
        Rc::new(Self {
            route,
            behaviour: Cell::new(Behaviour::Serves),
            behaviour_changed: Notify::new(),
            rng: RefCell::new(rng),
            table,
            process: RefCell::default(),
        })
    }

    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.behaviour.set(behaviour);
        self.behaviour_changed.notify_waiters();
    }

    /// Starts a process, unless there is one.
    pub fn start(self: &Rc<Self>) {
        if self.process.borrow().is_some() {
            return;
        }
        let (listener, mut accepted) = mpsc::unbounded_channel();
        self.route.set_listener(Some(listener));
        let process = CancellationToken::new();
        *self.process.borrow_mut() = Some(process.clone());

        let (replica, ended) = (self.clone(), process.clone());
        spawn_local(process.run_until_cancelled_owned(async move {
            while let Some(stream) = accepted.recv().await {
                let service: users::Client = new_client(SimulatedService {
                    replica: replica.clone(),
                    process: ended.clone(),
                });
                let system = transport::server(stream, service.client).system;
                spawn_local(ended.clone().run_until_cancelled_owned(system));
            }
        }));
    }

    /// Ends the process at once, with all that it does.
    pub fn die(&self) {
        self.route.set_listener(None);
        if let Some(process) = self.process.take() {
            process.cancel();
        }
    }

    async fn pause(&self, max_ms: u64) {
        let ms = self.rng.borrow_mut().u64(..=max_ms);
        sleep(Duration::from_millis(ms)).await;
        self.route.thawed().await;
    }

    fn flip(&self) -> bool {
        self.rng.borrow_mut().bool()
    }

    /// Stores a user; returns whether it was there.
    fn execute(&self, call: CallId, id: &str) -> bool {
        let replica = self.route.replica;
        self.route.trace.record(Event::Executed { call, replica });
        let mut table = self.table.borrow_mut();
        let replayed = table.contains_key(id);
        table.entry(id.to_owned()).or_insert(call);
        replayed
    }

    /// Carries a create out, as far as this replica's behaviour lets it.
    async fn create(&self, call: CallId, id: &str, timeout: Duration) -> capnp::Result<bool> {
        let queued_at = Instant::now();
        let execute_if_in_time = || {
            if queued_at.elapsed() >= timeout {
                return Err(Error::overloaded("the call waited for too long".into()));
            }
            Ok(self.execute(call, id))
        };

        match self.behaviour.get() {
            Behaviour::Serves => {
                self.pause(FAST_MS).await;
                execute_if_in_time()
            }
            Behaviour::Slow if self.flip() => {
                self.pause(SLOW_MS).await;
                execute_if_in_time()
            }
            Behaviour::Slow => {
                let replayed = self.execute(call, id);
                self.pause(SLOW_MS).await;
                Ok(replayed)
            }
            Behaviour::Fails => {
                self.pause(FAST_MS).await;
                if self.flip() {
                    self.execute(call, id);
                }
                Err(Error::failed("a fault of the database".into()))
            }
            Behaviour::Hangs if self.flip() => {
                self.hang().await;
                execute_if_in_time()
            }
            Behaviour::Hangs => {
                let replayed = self.execute(call, id);
                self.hang().await;
                Ok(replayed)
            }
            Behaviour::Old => Err(Error::unimplemented("no such method".into())),
            Behaviour::Overloaded | Behaviour::NotServing => Err(refusal()),
        }
    }

    async fn read(&self) -> capnp::Result<()> {
        match self.behaviour.get() {
            Behaviour::Serves | Behaviour::Old => self.pause(FAST_MS).await,
            Behaviour::Slow => self.pause(SLOW_MS).await,
            Behaviour::Hangs => self.hang().await,
            Behaviour::Fails => return Err(Error::failed("a fault of the database".into())),
            Behaviour::Overloaded | Behaviour::NotServing => return Err(refusal()),
        }
        Ok(())
    }

    async fn hang(&self) {
        while self.behaviour.get() == Behaviour::Hangs {
            self.behaviour_changed.notified().await;
        }
        self.route.thawed().await;
    }
}

fn refusal() -> Error {
    Error::overloaded("too many calls".into())
}

/// What a process offers on its connections.
#[derive(Clone)]
struct SimulatedService {
    replica: Rc<SimulatedReplica>,
    process: CancellationToken,
}

fn call_in(context: call_context::Reader) -> capnp::Result<(CallId, Duration)> {
    let call = call_of(context.get_traceparent()?.to_str()?);
    let call = call.ok_or_else(|| Error::failed("a call of no story".into()))?;
    Ok((call, Duration::from_millis(context.get_timeout_ms().into())))
}

impl users::Server for SimulatedService {
    async fn create_user(
        self: Rc<Self>,
        params: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let (call, timeout) = call_in(request.get_context()?)?;
        let id = request.get_id()?.to_string()?;

        // A batch that has begun goes on when the connection ends.
        let (answer, answered) = oneshot::channel();
        let replica = self.replica.clone();
        let process = self.process.clone();
        spawn_local(process.run_until_cancelled_owned(async move {
            let created = replica.create(call, &id, timeout).await;
            let is_refusal = |error: &Error| {
                matches!(error.kind, ErrorKind::Overloaded | ErrorKind::Unimplemented)
            };
            if created.as_ref().is_err_and(is_refusal) {
                let route = &replica.route;
                let replica = route.replica;
                route.trace.record(Event::Refused { call, replica });
            }
            let _ = answer.send(created);
        }));
        let dies = |_| Error::failed("the process ends".into());
        let replayed = answered.await.map_err(dies)??;

        let mut response = results.get();
        response.set_replayed(replayed);
        let mut user = response.init_user();
        user.set_id(request.get_id()?);
        user.set_email(request.get_email()?);
        user.set_name(request.get_name()?);
        Ok(())
    }

    async fn get_user(
        self: Rc<Self>,
        params: users::GetUserParams,
        mut results: users::GetUserResults,
    ) -> Result<(), Error> {
        self.replica.read().await?;
        let request = params.get()?;
        let id = request.get_id()?.to_str()?;
        match self.replica.table.borrow().get(id) {
            Some(_) => results.get().init_user().set_id(id),
            None => results.get().set_not_found(()),
        }
        Ok(())
    }

    async fn health(
        self: Rc<Self>,
        _: users::HealthParams,
        mut results: users::HealthResults,
    ) -> Result<(), Error> {
        let is_serving = self.replica.behaviour.get() != Behaviour::NotServing;
        results.get().set_serving(is_serving);
        Ok(())
    }
}
