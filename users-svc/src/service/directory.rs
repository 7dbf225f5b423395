//! The `UserDirectory` capability: reads users and, by its type, creates none.

use std::cell::Cell;
use std::rc::Rc;

use users_rpc::users_capnp::directory_handle;
use users_rpc::users_capnp::user_directory::{
    self, FindUserParams, FindUserResults, GetUserParams, GetUserResults, ListUsersParams,
    ListUsersResults,
};

use super::reads::Reads;
use crate::call::Interface;

/// A directory, which can be revoked while others hold it.
pub struct Directory {
    reads: Reads,
    is_revoked: Rc<Cell<bool>>,
}

/// Revokes its directory when the peer that got it has released it, or is gone.
struct Handle {
    is_revoked: Rc<Cell<bool>>,
}

impl Directory {
    fn new(reads: Reads, is_revoked: Rc<Cell<bool>>) -> Self {
        Self {
            reads: Reads {
                interface: Interface::UserDirectory,
                ..reads
            },
            is_revoked,
        }
    }

    /// A directory that lasts as long as its connection.
    pub fn lasting(reads: Reads) -> user_directory::Client {
        capnp_rpc::new_client(Self::new(reads, Rc::default()))
    }

    /// A directory, and the handle that keeps it from being revoked.
    pub fn revocable(reads: Reads) -> (user_directory::Client, directory_handle::Client) {
        let is_revoked: Rc<Cell<bool>> = Rc::default();
        let handle = Handle {
            is_revoked: is_revoked.clone(),
        };
        let directory = Self::new(reads, is_revoked);
        (
            capnp_rpc::new_client(directory),
            capnp_rpc::new_client(handle),
        )
    }
}

// A revoked directory says so as data: whoever holds it has done nothing wrong, and its connection goes on.
impl user_directory::Server for Directory {
    async fn get_user(
        self: Rc<Self>,
        params: GetUserParams,
        mut results: GetUserResults,
    ) -> Result<(), capnp::Error> {
        if self.is_revoked.get() {
            results.get().set_revoked(());
            return Ok(());
        }
        self.reads.get_user(params, results).await
    }

    async fn list_users(
        self: Rc<Self>,
        params: ListUsersParams,
        mut results: ListUsersResults,
    ) -> Result<(), capnp::Error> {
        if self.is_revoked.get() {
            results.get().set_revoked(());
            return Ok(());
        }
        self.reads.list_users(params, results).await
    }

    async fn find_user(
        self: Rc<Self>,
        params: FindUserParams,
        mut results: FindUserResults,
    ) -> Result<(), capnp::Error> {
        if self.is_revoked.get() {
            results.get().set_revoked(());
            return Ok(());
        }
        self.reads.find_user(params, results).await
    }
}

impl directory_handle::Server for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        self.is_revoked.set(true);
    }
}
