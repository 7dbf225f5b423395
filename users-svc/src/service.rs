//! The `Users` capability: reads requests, checks them against the rules, and fills responses.

use std::{rc::Rc, time::Duration};

use capnp::{struct_list, text};
use service_runtime::trace::TraceContext;
use tokio::time::Instant;
use users_rpc::users_capnp::{
    call_context, create_user_request, field_error, user,
    users::{self, CreateUserParams, CreateUserResults, GetUserParams, GetUserResults},
};
use uuid::Uuid;

use crate::{
    connection::UsersOfConnection,
    store::Inserted,
    user::{Broken, Email, Name, NewUser, UserId},
};

/// The longest that a call may take when its caller sets no limit, and the most it may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `health` waits for the database: callers take a longer silence for a dead service.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1..=100;

impl users::Server for UsersOfConnection {
    async fn create_user(
        self: Rc<Self>,
        params: CreateUserParams,
        mut results: CreateUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = request.get_context()?;
        self.answer("createUser", context, async |service, trace| {
            let deadline = deadline(context);
            let new = match new_user(request)? {
                Ok(new) => new,
                Err(faults) => {
                    set_faults(results.get().init_invalid(count(&faults)), &faults);
                    return Ok(());
                }
            };
            let inserted = service.inserts.submit(new.clone(), deadline, trace).await?;
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
        let request = params.get()?;
        let context = request.get_context()?;
        self.answer("getUser", context, async |service, trace| {
            // What is no UUID is no user's id.
            let found = match request.get_id()?.to_str().map(UserId::parse) {
                Ok(Ok(id)) => {
                    service
                        .gets
                        .submit(id.uuid(), deadline(context), trace)
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
        let request = params.get()?;
        let context = request.get_context()?;
        self.answer("listUsers", context, async |service, trace| {
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
            let deadline = deadline(context);
            let mut found = service
                .pages
                .submit((after, size + 1), deadline, trace)
                .await?;
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
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let serving = service.accepts()
            && service
                .probes
                .submit((), deadline, TraceContext::fresh())
                .await
                .unwrap_or(false);
        results.get().set_serving(serving);
        Ok(())
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
