//! The `Users` capability: reads requests, checks them against the rules, and fills responses.

use std::{
    cell::Cell,
    future::Future,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capnp::{struct_list, text};
use futures::FutureExt as _;
use process::workers::{self, Worker};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    task::yield_now,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use users_rpc::{
    transport,
    users_capnp::{
        call_context, create_user_request, field_error, user,
        users::{self, CreateUserParams, CreateUserResults, GetUserParams, GetUserResults},
    },
};
use uuid::Uuid;

use crate::{
    Config,
    batch::{Batcher, Failure},
    rules::{Broken, Email, Name, NewUser, UserId},
    store::{Inserted, Store, User},
};

/// The longest that a call may take when its caller sets no limit, and the most it may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `health` waits for the database: callers take a longer silence for a dead service.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1..=100;

/// What the workers of a process share.
pub struct Shared {
    /// The users.
    pub store: Arc<Store>,
    /// Whether the schema has been checked; before that, no call is let through.
    pub ready: Arc<AtomicBool>,
    writers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl Shared {
    /// Splits the pool's connections between those who write and those who read.
    #[must_use]
    pub fn new(store: Arc<Store>, ready: Arc<AtomicBool>, pool_size: usize) -> Self {
        let writers = pool_size.div_ceil(2);
        // With a single connection they take turns in the pool.
        let readers = (pool_size - writers).max(1);
        let places = |n| Arc::new(Semaphore::new(n));
        Self {
            store,
            ready,
            writers: places(writers),
            readers: places(readers),
        }
    }
}

/// Serves the Users capability on the connections of one thread.
pub struct UsersWorker(Rc<Service>);

struct Service {
    inserts: Batcher<NewUser, Inserted>,
    gets: Batcher<Uuid, Option<User>>,
    pages: Batcher<(Uuid, u32), Vec<User>>,
    probes: Batcher<(), bool>,
    ready: Arc<AtomicBool>,
    draining: CancellationToken,
    max_in_flight: usize,
    in_flight: Cell<usize>,
}

/// The bootstrap capability of one connection.
struct UsersOfConnection {
    service: Rc<Service>,
    /// Calls of this connection that have not been answered, and who waits for there to be none.
    unanswered: Cell<usize>,
    all_answered: Notify,
}

impl UsersWorker {
    /// Makes the worker of this thread, inside its runtime.
    #[must_use]
    pub fn new(config: &Config, shared: &Shared, draining: CancellationToken) -> Self {
        let Shared {
            store,
            ready,
            writers,
            readers,
        } = shared;
        let (inserter, getter, pager, prober) =
            (store.clone(), store.clone(), store.clone(), store.clone());
        Self(Rc::new(Service {
            inserts: Batcher::new(
                config.max_batch,
                writers.clone(),
                move |users: Vec<NewUser>| inserter.insert(&users),
            ),
            gets: Batcher::new(config.max_batch, readers.clone(), move |ids: Vec<Uuid>| {
                getter.get(&ids)
            }),
            pages: Batcher::new(1, readers.clone(), move |pages: Vec<(Uuid, u32)>| {
                pages
                    .into_iter()
                    .map(|(after, size)| pager.page(after, size.into()))
                    .collect()
            }),
            // However many ask at once, the database is asked once.
            probes: Batcher::new(usize::MAX, readers.clone(), move |asked: Vec<()>| {
                vec![Ok(prober.writable()); asked.len()]
            }),
            ready: ready.clone(),
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

impl users::Server for UsersOfConnection {
    async fn create_user(
        self: Rc<Self>,
        params: CreateUserParams,
        mut results: CreateUserResults,
    ) -> Result<(), capnp::Error> {
        self.answer(async |service| {
            let request = params.get()?;
            let deadline = deadline(request.get_context()?);
            let new = match new_user(request)? {
                Ok(new) => new,
                Err(faults) => {
                    set_faults(results.get().init_invalid(count(&faults)), &faults);
                    return Ok(());
                }
            };
            let inserted = service.inserts.submit(new.clone(), deadline).await?;
            let mut response = results.get();
            match inserted {
                Inserted::Created | Inserted::Replayed => {
                    response.set_replayed(inserted == Inserted::Replayed);
                    set_user(
                        response.init_user(),
                        new.id.uuid(),
                        new.email.as_str(),
                        new.name.as_str(),
                    );
                }
                Inserted::EmailTaken => response.set_email_taken(()),
                Inserted::IdConflict => response.set_id_conflict(()),
                Inserted::Refused => {
                    let fault = vec![("", Broken("is refused by the database"))];
                    set_faults(response.init_invalid(1), &fault);
                }
            }
            Ok(())
        })
        .await
    }

    async fn get_user(
        self: Rc<Self>,
        params: GetUserParams,
        mut results: GetUserResults,
    ) -> Result<(), capnp::Error> {
        self.answer(async |service| {
            let request = params.get()?;
            // What is no UUID is no user's id.
            let found = match request.get_id()?.to_str().map(UserId::parse) {
                Ok(Ok(id)) => {
                    service
                        .gets
                        .submit(id.uuid(), deadline(request.get_context()?))
                        .await?
                }
                _ => None,
            };
            match found {
                Some(found) => {
                    set_user(
                        results.get().init_user(),
                        found.id,
                        &found.email,
                        &found.name,
                    );
                }
                None => results.get().set_not_found(()),
            }
            Ok(())
        })
        .await
    }

    async fn list_users(
        self: Rc<Self>,
        params: users::ListUsersParams,
        mut results: users::ListUsersResults,
    ) -> Result<(), capnp::Error> {
        self.answer(async |service| {
            let request = params.get()?;
            let (size, token) = (request.get_page_size(), request.get_page_token()?);
            let mut faults = Faults::new();
            if !PAGE_SIZES.contains(&size) {
                faults.push(("pageSize", Broken("must be from 1 to 100")));
            }
            // The token is the last id of the page before; the nil UUID precedes them all.
            let after = if token.is_empty() {
                Some(Uuid::nil())
            } else {
                check("pageToken", token, parse_token, &mut faults)
            };
            let (Some(after), true) = (after, faults.is_empty()) else {
                set_faults(results.get().init_invalid(count(&faults)), &faults);
                return Ok(());
            };
            // One more than asked for tells whether there is a next page.
            let deadline = deadline(request.get_context()?);
            let mut found = service.pages.submit((after, size + 1), deadline).await?;
            let more = found.len() > size as usize;
            found.truncate(size as usize);
            let mut page = results.get().init_page();
            if let (true, Some(last)) = (more, found.last()) {
                page.set_next_page_token(last.id.to_string());
            }
            let mut list = page.init_users(count(&found));
            for (i, user) in (0..).zip(&found) {
                set_user(list.reborrow().get(i), user.id, &user.email, &user.name);
            }
            Ok(())
        })
        .await
    }

    async fn health(
        self: Rc<Self>,
        _: users::HealthParams,
        mut results: users::HealthResults,
    ) -> Result<(), capnp::Error> {
        let service = &self.service;
        let accepting = service.ready.load(Ordering::Relaxed) && !service.draining.is_cancelled();
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let serving = accepting && service.probes.submit((), deadline).await.unwrap_or(false);
        results.get().set_serving(serving);
        Ok(())
    }
}

impl UsersOfConnection {
    /// Runs a call: within the limits, and so that a panic costs this call only.
    async fn answer<F>(&self, call: impl FnOnce(Rc<Service>) -> F) -> Result<(), capnp::Error>
    where
        F: Future<Output = Result<(), capnp::Error>>,
    {
        let service = self.service.clone();
        let refused = service.draining.is_cancelled()
            || !service.ready.load(Ordering::Relaxed)
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

/// Faults of a request: the field's name and what is wrong with it.
type Faults = Vec<(&'static str, Broken)>;

/// Checks a request against the rules; all faults are listed.
fn new_user(request: create_user_request::Reader) -> capnp::Result<Result<NewUser, Faults>> {
    let mut faults = Faults::new();
    let id = match request.get_id()? {
        id if id.is_empty() => Some(UserId::mint()),
        id => check("id", id, UserId::parse, &mut faults),
    };
    let email = check("email", request.get_email()?, Email::parse, &mut faults);
    let name = check("name", request.get_name()?, Name::parse, &mut faults);
    Ok(match (id, email, name) {
        (Some(id), Some(email), Some(name)) => Ok(NewUser { id, email, name }),
        _ => Err(faults),
    })
}

fn check<T>(
    field: &'static str,
    text: text::Reader,
    parse: impl Fn(&str) -> Result<T, Broken>,
    faults: &mut Faults,
) -> Option<T> {
    let parsed = text
        .to_str()
        .map_err(|_| Broken("must be UTF-8"))
        .and_then(parse);
    parsed.map_err(|broken| faults.push((field, broken))).ok()
}

fn parse_token(text: &str) -> Result<Uuid, Broken> {
    let id = UserId::parse(text).map_err(|_| Broken("must be the nextPageToken of a page"))?;
    Ok(id.uuid())
}

/// When the caller stops waiting.
fn deadline(context: call_context::Reader) -> Instant {
    let limit = match context.get_timeout_ms() {
        0 => MAX_TIMEOUT,
        ms => MAX_TIMEOUT.min(Duration::from_millis(ms.into())),
    };
    Instant::now() + limit
}

fn set_user(mut builder: user::Builder, id: Uuid, email: &str, name: &str) {
    builder.set_id(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    builder.set_email(email);
    builder.set_name(name);
}

fn set_faults(mut list: struct_list::Builder<field_error::Owned>, faults: &Faults) {
    for (i, (field, broken)) in (0..).zip(faults) {
        let mut error = list.reborrow().get(i);
        error.set_field(field);
        error.set_reason(broken.0);
    }
}

/// The length of a list, as Cap'n Proto counts.
fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
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
