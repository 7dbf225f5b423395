//! The users service as one thread calls it: its methods, and how they are encoded and decoded.

use std::{rc::Rc, sync::Arc};

use capnp::struct_list;
use tokio::{sync::Semaphore, task::spawn_local};
use users_rpc::users_capnp::{
    call_context, create_user_response, field_error, find_user_response, get_user_response,
    list_users_response, user,
};
use uuid::Uuid;

use crate::balancer::Balancer;
use crate::capability::UsersCapability;
use crate::reconnect::keep_links;
use crate::resolver::Resolver;
use crate::retry::{Attempt, Effect, RetryingCaller};
use crate::types::{CallOptions, CreateOutcome, FieldError, ListOutcome, NewUser, Result, User};

/// Bytes of the texts of a request, in all. The contract says so ("Limits"): a longer message would cost the
/// connection, and with it every other call.
const MAX_TEXT_BYTES: usize = 96 * 1024;
/// Longest `traceparent` that is sent; those of today have 55 bytes.
const MAX_TRACEPARENT: usize = 512;

/// The users service as one thread calls it. Clones share the links.
#[derive(Clone)]
pub struct LocalClient(pub(crate) Rc<RetryingCaller>);

impl LocalClient {
    /// Starts a link to each replica that `resolver` finds. `in_flight` limits the calls that run at once;
    /// threads may share it.
    ///
    /// Call it on a thread that runs a tokio local runtime; the links last as long as the runtime.
    pub fn new(resolver: Resolver, in_flight: Arc<Semaphore>) -> Self {
        let balancer = Rc::new(Balancer::new(resolver));
        spawn_local(keep_links(balancer.clone()));
        Self(Rc::new(RetryingCaller::new(balancer, in_flight)))
    }

    /// Stores a user, exactly once.
    pub async fn create_user(&self, new: &NewUser, options: &CallOptions) -> Result<CreateOutcome> {
        if let Err(error) = check_size([("email", &new.email), ("name", &new.name)]) {
            return Ok(CreateOutcome::Invalid(vec![error]));
        }
        let send = |users: &UsersCapability, attempt: Attempt| {
            let mut request = users.create_user();
            let mut params = request.get();
            params.set_id(new.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str);
            params.set_email(new.email.as_str());
            params.set_name(new.name.as_str());
            encode_context(params.init_context(), &attempt, options);
            let response = request.send().promise;
            async move { decode_create_outcome(response.await?.get()?, &attempt) }
        };
        self.0.call(Effect::Write, options.timeout, send).await
    }

    /// Reads a user; `None` when there is none with this id.
    pub async fn get_user(&self, id: &str, options: &CallOptions) -> Result<Option<User>> {
        if check_size([("id", id)]).is_err() {
            // Text that is not a UUID is no user's id.
            return Ok(None);
        }
        let send = |users: &UsersCapability, attempt: Attempt| {
            let mut request = users.get_user();
            request.get().set_id(id);
            encode_context(request.get().init_context(), &attempt, options);
            let response = request.send().promise;
            async move {
                Ok(match response.await?.get()?.which()? {
                    get_user_response::User(user) => Some(decode_user(user?)?),
                    get_user_response::NotFound(()) => None,
                    get_user_response::Revoked(()) => return Err(revoked()),
                })
            }
        };
        self.0.call(Effect::Read, options.timeout, send).await
    }

    /// Reads the user who has an e-mail address, in any letter case; `None` when nobody has it.
    pub async fn find_user(&self, email: &str, options: &CallOptions) -> Result<Option<User>> {
        if check_size([("email", email)]).is_err() {
            // Text that is no e-mail address is no user's.
            return Ok(None);
        }
        let send = |users: &UsersCapability, attempt: Attempt| {
            let mut request = users.find_user();
            request.get().set_email(email);
            encode_context(request.get().init_context(), &attempt, options);
            let response = request.send().promise;
            async move {
                Ok(match response.await?.get()?.which()? {
                    find_user_response::User(user) => Some(decode_user(user?)?),
                    find_user_response::NotFound(()) => None,
                    find_user_response::Revoked(()) => return Err(revoked()),
                })
            }
        };
        self.0.call(Effect::Read, options.timeout, send).await
    }

    /// Reads the page of users, ordered by id, that `page_token` stands for; an empty token means the first.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: &str,
        options: &CallOptions,
    ) -> Result<ListOutcome> {
        if let Err(error) = check_size([("pageToken", page_token)]) {
            return Ok(ListOutcome::Invalid(vec![error]));
        }
        let send = |users: &UsersCapability, attempt: Attempt| {
            let mut request = users.list_users();
            let mut params = request.get();
            params.set_page_size(page_size);
            params.set_page_token(page_token);
            encode_context(params.init_context(), &attempt, options);
            let response = request.send().promise;
            async move { decode_list_outcome(response.await?.get()?) }
        };
        self.0.call(Effect::Read, options.timeout, send).await
    }

    /// Why calls find no replica now: each address with its fault, in one line. `None` while there is a link.
    pub fn connection_faults(&self) -> Option<String> {
        let balancer = &self.0.balancer;
        (!balancer.has_link()).then(|| balancer.describe_faults())
    }

    /// Whether the service can serve calls now. It needs no permit and no budget of the other calls: they
    /// may be as many as allowed, and the service healthy all the same.
    pub async fn health(&self, options: &CallOptions) -> Result<bool> {
        let send = |users: &UsersCapability, _: Attempt| {
            let users = users.clone();
            async move { users.can_serve().await }
        };
        let caller = RetryingCaller::new(self.0.balancer.clone(), Arc::new(Semaphore::new(1)));
        caller.call(Effect::Read, options.timeout, send).await
    }
}

pub fn encode_context(
    mut context: call_context::Builder,
    attempt: &Attempt,
    options: &CallOptions,
) {
    let timeout_ms = u32::try_from(attempt.time_given().as_millis()).unwrap_or(u32::MAX);
    context.set_timeout_ms(timeout_ms.max(1));
    if options.traceparent.len() <= MAX_TRACEPARENT {
        context.set_traceparent(options.traceparent.as_str());
    }
}

/// Finds fault with the longest of texts that no request can carry.
pub fn check_size<const N: usize>(texts: [(&str, &str); N]) -> std::result::Result<(), FieldError> {
    let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
    match texts.iter().max_by_key(|(_, text)| text.len()) {
        Some((field, _)) if bytes > MAX_TEXT_BYTES => Err(FieldError {
            field: (*field).to_owned(),
            reason: format!(
                "must be shorter: the texts of a request have at most {MAX_TEXT_BYTES} bytes in all"
            ),
        }),
        _ => Ok(()),
    }
}

pub fn decode_create_outcome(
    response: create_user_response::Reader,
    attempt: &Attempt,
) -> capnp::Result<CreateOutcome> {
    Ok(match response.which()? {
        create_user_response::User(user) => CreateOutcome::Stored {
            user: decode_user(user?)?,
            // The service may mean an attempt of this very call.
            replayed: response.get_replayed() && !attempt.may_have_written,
        },
        create_user_response::Invalid(errors) => CreateOutcome::Invalid(decode_errors(errors?)?),
        create_user_response::EmailTaken(()) => CreateOutcome::EmailTaken,
        create_user_response::IdConflict(()) => CreateOutcome::IdConflict,
    })
}

fn decode_user(user: user::Reader) -> capnp::Result<User> {
    Ok(User {
        id: user.get_id()?.to_string()?,
        email: user.get_email()?.to_string()?,
        name: user.get_name()?.to_string()?,
    })
}

fn decode_list_outcome(response: list_users_response::Reader) -> capnp::Result<ListOutcome> {
    Ok(match response.which()? {
        list_users_response::Page(page) => {
            let users: capnp::Result<_> = page.get_users()?.iter().map(decode_user).collect();
            let next_page_token = page.get_next_page_token()?.to_string()?;
            ListOutcome::Page {
                users: users?,
                next_page_token,
            }
        }
        list_users_response::Invalid(errors) => ListOutcome::Invalid(decode_errors(errors?)?),
        list_users_response::Revoked(()) => return Err(revoked()),
    })
}

/// The directory that a service offers to a connection lasts as long, so this is no outcome of its own.
fn revoked() -> capnp::Error {
    capnp::Error::failed("the directory is revoked".into())
}

pub fn decode_errors(
    errors: struct_list::Reader<field_error::Owned>,
) -> capnp::Result<Vec<FieldError>> {
    let decode = |error: field_error::Reader| {
        Ok(FieldError {
            field: error.get_field()?.to_string()?,
            reason: error.get_reason()?.to_string()?,
        })
    };
    errors.iter().map(decode).collect()
}
