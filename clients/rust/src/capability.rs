//! The capability that a link holds: what its service offers to this client, and whether it can serve.

use capnp::ErrorKind;
use capnp::capability::{FromClientHook as _, Request};
use users_rpc::users_capnp::{
    create_user_request, create_user_response, create_users_request, create_users_response,
    find_user_request, find_user_response, get_user_request, get_user_response, list_users_request,
    list_users_response, user_directory, users,
};

/// What a replica offers: everything, or a directory to a client that may only read.
#[derive(Clone)]
pub struct UsersCapability {
    users: users::Client,
    /// The same object as a directory, when that is what it is.
    directory: Option<user_directory::Client>,
}

impl UsersCapability {
    /// Asks the bootstrap capability of a connection what it is. Returns it with whether its service can serve.
    pub async fn identify(users: users::Client) -> capnp::Result<(Self, bool)> {
        let mut capability = Self {
            users,
            directory: None,
        };
        match capability.users.health_request().send().promise.await {
            Ok(response) => return Ok((capability, response.get()?.get_serving())),
            Err(error) if error.kind == ErrorKind::Unimplemented => {}
            Err(error) => return Err(error),
        }

        // No health: a directory, or a service that is older than the question and is taken to serve.
        let directory = capability.users.clone().cast_to();
        let is_directory = match can_read(&directory).await {
            Ok(serving) => Some(serving),
            Err(error) if error.kind == ErrorKind::Unimplemented => None,
            Err(error) => return Err(error),
        };
        capability.directory = is_directory.map(|_| directory);
        Ok((capability, is_directory.unwrap_or(true)))
    }

    /// Asks whether the service can serve.
    pub async fn can_serve(&self) -> capnp::Result<bool> {
        if let Some(directory) = &self.directory {
            return can_read(directory).await;
        }
        match self.users.health_request().send().promise.await {
            Ok(response) => Ok(response.get()?.get_serving()),
            Err(error) if error.kind == ErrorKind::Unimplemented => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A directory answers that it has no such method.
    pub fn create_user(&self) -> Request<create_user_request::Owned, create_user_response::Owned> {
        self.users.create_user_request()
    }

    /// The same.
    pub fn create_users(
        &self,
    ) -> Request<create_users_request::Owned, create_users_response::Owned> {
        self.users.create_users_request()
    }

    pub fn get_user(&self) -> Request<get_user_request::Owned, get_user_response::Owned> {
        match &self.directory {
            None => self.users.get_user_request(),
            Some(directory) => directory.get_user_request(),
        }
    }

    pub fn list_users(&self) -> Request<list_users_request::Owned, list_users_response::Owned> {
        match &self.directory {
            None => self.users.list_users_request(),
            Some(directory) => directory.list_users_request(),
        }
    }

    pub fn find_user(&self) -> Request<find_user_request::Owned, find_user_response::Owned> {
        match &self.directory {
            None => self.users.find_user_request(),
            Some(directory) => directory.find_user_request(),
        }
    }
}

/// Asks a directory for nobody, which costs it nothing.
async fn can_read(directory: &user_directory::Client) -> capnp::Result<bool> {
    match directory.get_user_request().send().promise.await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::Overloaded => Ok(false),
        Err(error) => Err(error),
    }
}
