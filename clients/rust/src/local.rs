//! Calls to the users service: deadline, retries, and what each outcome means to the caller.

use std::rc::Rc;

use users_rpc::users_capnp::{
    call_context, create_user_response, field_error, get_user_response, list_users_response, user,
};
use uuid::Uuid;

use crate::{
    CallError, CallOptions, CreateOutcome, FieldError, ListOutcome, NewUser, Resolver, User,
    retry::{Context, Effect, Inner},
};

/// The users service as one thread calls it. Clones share the links.
#[derive(Clone)]
pub struct LocalClient(pub(crate) Rc<Inner>);

impl LocalClient {
    /// Starts a link to each of `replicas`. At most `max_in_flight` calls run at once.
    ///
    /// Call it on a thread that runs a tokio local runtime.
    #[must_use]
    pub fn new(replicas: Resolver, max_in_flight: usize) -> Self {
        Self(Rc::new(Inner::new(replicas, max_in_flight)))
    }

    /// Stores a user, exactly once.
    pub async fn create_user(
        &self,
        new: &NewUser,
        options: &CallOptions,
    ) -> Result<CreateOutcome, CallError> {
        self.call("createUser", Effect::Write, options, |client, context| {
            let mut request = client.create_user_request();
            let mut params = request.get();
            params.set_id(new.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str);
            params.set_email(new.email.as_str());
            params.set_name(new.name.as_str());
            context.write(params.init_context());
            let response = request.send().promise;
            async move { decode_created(response.await?.get()?) }
        })
        .await
    }

    /// Reads a user; `None`: there is none with this id.
    pub async fn get_user(
        &self,
        id: &str,
        options: &CallOptions,
    ) -> Result<Option<User>, CallError> {
        self.call("getUser", Effect::Read, options, |client, context| {
            let mut request = client.get_user_request();
            request.get().set_id(id);
            context.write(request.get().init_context());
            let response = request.send().promise;
            async move {
                Ok(match response.await?.get()?.which()? {
                    get_user_response::User(user) => Some(decode_user(user?)?),
                    get_user_response::NotFound(()) => None,
                })
            }
        })
        .await
    }

    /// Reads the users that follow `page_token`, by id; an empty token begins at the first.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: &str,
        options: &CallOptions,
    ) -> Result<ListOutcome, CallError> {
        self.call("listUsers", Effect::Read, options, |client, context| {
            let mut request = client.list_users_request();
            let mut params = request.get();
            params.set_page_size(page_size);
            params.set_page_token(page_token);
            context.write(params.init_context());
            let response = request.send().promise;
            async move { decode_listed(response.await?.get()?) }
        })
        .await
    }

    /// Whether every thread that shares the replicas has a link to one.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.links.all_threads_up()
    }

    /// Whether the service can serve calls now.
    pub async fn health(&self, options: &CallOptions) -> Result<bool, CallError> {
        self.call("health", Effect::Read, options, |client, _| {
            let response = client.health_request().send().promise;
            async move { Ok(response.await?.get()?.get_serving()) }
        })
        .await
    }
}

impl Context<'_> {
    fn write(&self, mut context: call_context::Builder) {
        context.set_timeout_ms(
            u32::try_from(self.timeout.as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
        );
        context.set_traceparent(self.traceparent);
    }
}

fn decode_created(response: create_user_response::Reader) -> capnp::Result<CreateOutcome> {
    Ok(match response.which()? {
        create_user_response::User(user) => CreateOutcome::Stored {
            user: decode_user(user?)?,
            replayed: response.get_replayed(),
        },
        create_user_response::Invalid(errors) => {
            CreateOutcome::Invalid(decode_field_errors(errors?)?)
        }
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

fn decode_listed(response: list_users_response::Reader) -> capnp::Result<ListOutcome> {
    Ok(match response.which()? {
        list_users_response::Page(page) => ListOutcome::Page {
            users: page
                .get_users()?
                .iter()
                .map(decode_user)
                .collect::<capnp::Result<_>>()?,
            next_page_token: page.get_next_page_token()?.to_string()?,
        },
        list_users_response::Invalid(errors) => ListOutcome::Invalid(decode_field_errors(errors?)?),
    })
}

fn decode_field_errors(
    errors: capnp::struct_list::Reader<'_, field_error::Owned>,
) -> capnp::Result<Vec<FieldError>> {
    let decode = |error: field_error::Reader| {
        Ok(FieldError {
            field: error.get_field()?.to_string()?,
            reason: error.get_reason()?.to_string()?,
        })
    };
    errors.iter().map(decode).collect()
}
