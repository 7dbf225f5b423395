//! The `Users` capability: what each method does with its request.

pub mod healthcheck;
mod messages;

use std::{rc::Rc, time::Duration};

use capnp::capability::Client;
use service_runtime::trace::TraceContext;
use tokio::time::Instant;
use users_rpc::users_capnp::users::{
    self, CreateUserParams, CreateUserResults, GetUserParams, GetUserResults, HealthParams,
    HealthResults, ListUsersParams, ListUsersResults,
};

use crate::outcome::{CallFailure, InsertOutcome};
use crate::{call::Calls, queues::QueueHandles, user::UserId};
use messages::{
    CallContext, FieldError, len, read_new_user, read_page, set_field_errors, set_user,
};

/// How long `health` waits for the database. Callers take a longer silence for a dead service.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The capability as one connection holds it.
pub struct UsersService {
    calls: Rc<Calls>,
    queues: Rc<QueueHandles>,
}

impl UsersService {
    /// The capability that a connection offers to its peer.
    pub fn bootstrap(calls: Rc<Calls>, queues: Rc<QueueHandles>) -> Client {
        let users: users::Client = capnp_rpc::new_client(Self { calls, queues });
        users.client
    }
}

impl users::Server for UsersService {
    async fn create_user(
        self: Rc<Self>,
        params: CreateUserParams,
        mut results: CreateUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let create = async |trace| {
            let new = match read_new_user(request)? {
                Ok(new) => new,
                Err(errors) => {
                    set_field_errors(results.get().init_invalid(len(&errors)), &errors);
                    return Ok(());
                }
            };

            let insert = self.queues.insert(&new, context.deadline, trace);
            let outcome = insert.await?;

            let mut response = results.get();
            match outcome {
                InsertOutcome::Created | InsertOutcome::Replayed => {
                    response.set_replayed(outcome == InsertOutcome::Replayed);
                    set_user(response.init_user(), &new.into());
                }
                InsertOutcome::EmailTaken => response.set_email_taken(()),
                InsertOutcome::IdConflict => response.set_id_conflict(()),
                InsertOutcome::Contended => return Err(CallFailure::NotExecuted.into()),
                InsertOutcome::Refused => {
                    let error = FieldError::new("", "is refused by the database");
                    set_field_errors(response.init_invalid(1), &[error]);
                }
            }
            Ok(())
        };
        self.calls.run("createUser", context.parent, create).await
    }

    async fn get_user(
        self: Rc<Self>,
        params: GetUserParams,
        mut results: GetUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let gets = &self.queues.gets;
        let get = async |trace| {
            // Text that is not a UUID is no user's id.
            let found = match request.get_id()?.to_str().map(UserId::parse) {
                Ok(Ok(id)) => gets.submit(id.uuid(), context.deadline, trace).await?,
                _ => None,
            };
            match found {
                Some(user) => set_user(results.get().init_user(), &user),
                None => results.get().set_not_found(()),
            }
            Ok(())
        };
        self.calls.run("getUser", context.parent, get).await
    }

    async fn list_users(
        self: Rc<Self>,
        params: ListUsersParams,
        mut results: ListUsersResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let pages = &self.queues.pages;
        let list = async |trace| {
            let (size, token) = (request.get_page_size(), request.get_page_token()?);
            let after = match read_page(size, token) {
                Ok(after) => after,
                Err(errors) => {
                    set_field_errors(results.get().init_invalid(len(&errors)), &errors);
                    return Ok(());
                }
            };

            let _permit = self.calls.large_answer(context.deadline).await?;
            // One more than asked for tells whether there is a next page.
            let wanted = (after, size + 1);
            let mut users = pages.submit(wanted, context.deadline, trace).await?;
            let has_next = users.len() > size as usize;
            users.truncate(size as usize);

            let mut page = results.get().init_page();
            if let (true, Some(last)) = (has_next, users.last()) {
                page.set_next_page_token(last.id.to_string());
            }
            let mut list = page.init_users(len(&users));
            for (i, user) in (0..).zip(&users) {
                set_user(list.reborrow().get(i), user);
            }
            Ok(())
        };
        self.calls.run("listUsers", context.parent, list).await
    }

    async fn health(
        self: Rc<Self>,
        _: HealthParams,
        mut results: HealthResults,
    ) -> Result<(), capnp::Error> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let probes = &self.queues.probes;
        let probe = probes.submit((), deadline, TraceContext::fresh());
        let serving = self.calls.are_accepted() && probe.await.unwrap_or(false);
        results.get().set_serving(serving);
        Ok(())
    }
}
