//! The `Users` capability: `creates.rs` and `reads.rs` have its methods, and `directory.rs` the other capability.

mod creates;
mod directory;
pub mod healthcheck;
mod messages;
mod reads;

use std::{rc::Rc, time::Duration};

use capnp::capability::Client;
use service_runtime::trace::TraceContext;
use tokio::time::Instant;
use users_rpc::users_capnp::users::{
    self, CreateUserParams, CreateUserResults, CreateUsersParams, CreateUsersResults,
    DirectoryParams, DirectoryResults, FindUserParams, FindUserResults, GetUserParams,
    GetUserResults, HealthParams, HealthResults, ListUsersParams, ListUsersResults,
};

use crate::call::{Calls, Interface};
use crate::{access::Role, queues::QueueHandles};
use directory::Directory;
use messages::CallContext;
use reads::Reads;

/// How long `health` waits for the database. Callers take a longer silence for a dead service.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The capability that a connection offers to a peer of this role.
pub fn bootstrap(role: Role, calls: Rc<Calls>, queues: Rc<QueueHandles>) -> Client {
    let reads = Reads {
        calls,
        queues,
        interface: Interface::Users,
    };
    match role {
        Role::CreatesAndReads => {
            let users: users::Client = capnp_rpc::new_client(UsersService { reads });
            users.client
        }
        Role::Reads => Directory::lasting(reads).client,
    }
}

/// The capability as one connection holds it.
struct UsersService {
    reads: Reads,
}

impl users::Server for UsersService {
    async fn create_user(
        self: Rc<Self>,
        params: CreateUserParams,
        results: CreateUserResults,
    ) -> Result<(), capnp::Error> {
        creates::create_user(&self.reads.calls, &self.reads.queues, params, results).await
    }

    async fn create_users(
        self: Rc<Self>,
        params: CreateUsersParams,
        results: CreateUsersResults,
    ) -> Result<(), capnp::Error> {
        creates::create_users(&self.reads.calls, &self.reads.queues, params, results).await
    }

    async fn get_user(
        self: Rc<Self>,
        params: GetUserParams,
        results: GetUserResults,
    ) -> Result<(), capnp::Error> {
        self.reads.get_user(params, results).await
    }

    async fn list_users(
        self: Rc<Self>,
        params: ListUsersParams,
        results: ListUsersResults,
    ) -> Result<(), capnp::Error> {
        self.reads.list_users(params, results).await
    }

    async fn find_user(
        self: Rc<Self>,
        params: FindUserParams,
        results: FindUserResults,
    ) -> Result<(), capnp::Error> {
        self.reads.find_user(params, results).await
    }

    async fn directory(
        self: Rc<Self>,
        params: DirectoryParams,
        mut results: DirectoryResults,
    ) -> Result<(), capnp::Error> {
        let context = CallContext::read(params.get()?.get_context()?);
        let make = async |_| {
            let (directory, handle) = Directory::revocable(self.reads.clone());
            results.get().set_directory(directory);
            // Calls that do not wait for the answer find the directory only: what they are made on would keep
            // the handle until the peer finishes the question.
            results.set_pipeline()?;
            results.get().set_handle(handle);
            Ok(())
        };
        self.reads
            .calls
            .run(Interface::Users, "directory", context.parent, make)
            .await
    }

    async fn health(
        self: Rc<Self>,
        _: HealthParams,
        mut results: HealthResults,
    ) -> Result<(), capnp::Error> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let probes = &self.reads.queues.probes;
        let probe = probes.submit((), deadline, TraceContext::fresh());
        let serving = self.reads.calls.are_invited() && probe.await.unwrap_or(false);
        results.get().set_serving(serving);
        Ok(())
    }
}
