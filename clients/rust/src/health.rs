//! The capability that a link holds, and whether its service can serve.

use capnp::ErrorKind;
use users_rpc::users_capnp::users;

/// The Users capability of a replica.
pub type UsersCapability = users::Client;

/// Whether a service says that it can serve. One from before there was such a question can.
pub async fn serves(client: &UsersCapability) -> capnp::Result<bool> {
    match client.health_request().send().promise.await {
        Ok(answer) => Ok(answer.get()?.get_serving()),
        Err(error) if error.kind == ErrorKind::Unimplemented => Ok(true),
        Err(error) => Err(error),
    }
}
