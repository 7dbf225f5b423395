//! The capability that a link holds, and whether its service can serve.

use capnp::ErrorKind;
use users_rpc::users_capnp::users;

/// The Users capability of a replica.
pub type UsersCapability = users::Client;

/// Asks the service whether it can serve. A service older than this question is taken to serve.
pub async fn can_serve(users: &UsersCapability) -> capnp::Result<bool> {
    match users.health_request().send().promise.await {
        Ok(response) => Ok(response.get()?.get_serving()),
        Err(error) if error.kind == ErrorKind::Unimplemented => Ok(true),
        Err(error) => Err(error),
    }
}
