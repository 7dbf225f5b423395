//! The messages of the capability: what requests say, checked against the rules, and how responses say
//! what became of them.

use std::{ops::RangeInclusive, time::Duration};

use capnp::{struct_list, text};
use service_runtime::trace::TraceContext;
use tokio::time::Instant;
use users_rpc::users_capnp::{call_context, field_error, user};
use uuid::Uuid;

use crate::user::{Email, Name, NewUser, RuleViolation, User, UserId};

/// The longest that a call may take when its caller sets no limit, and the most it may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Users in a page.
const PAGE_SIZES: RangeInclusive<u32> = 1..=100;
/// Users that one call creates.
const MANY_USERS: RangeInclusive<u32> = 1..=500;

/// What a caller says of its call.
#[derive(Clone, Copy)]
pub struct CallContext {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The caller's span.
    pub parent: Option<TraceContext>,
}

impl CallContext {
    pub fn read(context: call_context::Reader) -> Self {
        let limit = match context.get_timeout_ms() {
            0 => MAX_TIMEOUT,
            ms => MAX_TIMEOUT.min(Duration::from_millis(ms.into())),
        };
        let traceparent = context.get_traceparent().ok();
        Self {
            deadline: Instant::now() + limit,
            parent: traceparent.and_then(|text| text.to_str().ok()?.parse().ok()),
        }
    }
}

/// A fault of one field of a request.
pub struct FieldError {
    /// Empty: the request as a whole.
    field: &'static str,
    /// What a right value looks like, as the rest of a sentence that starts with the field's name.
    reason: String,
}

impl FieldError {
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { field, reason }
    }
}

/// A part of a request, or all of its faults.
type Checked<T> = Result<T, Vec<FieldError>>;

/// Reads a user to create, and checks it against the rules. All faults are listed.
pub fn read_new_user(
    id: text::Reader,
    email: text::Reader,
    name: text::Reader,
) -> Checked<NewUser> {
    let id = match id {
        id if id.is_empty() => Ok(UserId::mint()),
        id => read_field("id", id, UserId::parse),
    };
    let email = read_field("email", email, Email::parse);
    let name = read_field("name", name, Name::parse);
    match (id, email, name) {
        (Ok(id), Ok(email), Ok(name)) => Ok(NewUser { id, email, name }),
        (id, email, name) => {
            let errors = [id.err(), email.err(), name.err()];
            Err(errors.into_iter().flatten().collect())
        }
    }
}

/// Checks how many users a call creates.
pub fn check_count(users: u32) -> Result<(), FieldError> {
    if MANY_USERS.contains(&users) {
        return Ok(());
    }
    let (least, most) = MANY_USERS.into_inner();
    let reason = format!("must have {least} to {most} entries");
    Err(FieldError::new("users", reason))
}

/// Checks which page is asked for, and returns the id after which it begins. All faults are listed.
pub fn read_page(size: u32, token: text::Reader) -> Checked<Uuid> {
    let size = if PAGE_SIZES.contains(&size) {
        Ok(())
    } else {
        let (first, last) = PAGE_SIZES.into_inner();
        let reason = format!("must be from {first} to {last}");
        Err(FieldError::new("pageSize", reason))
    };
    // The token is the last id of the page before. The nil UUID precedes all ids.
    let after = match token {
        token if token.is_empty() => Ok(Uuid::nil()),
        token => read_field("pageToken", token, UserId::parse)
            .map(UserId::uuid)
            .map_err(|error| FieldError::new(error.field, "must be the nextPageToken of a page")),
    };
    match (size, after) {
        (Ok(()), Ok(after)) => Ok(after),
        (size, after) => Err([size.err(), after.err()].into_iter().flatten().collect()),
    }
}

fn read_field<T>(
    field: &'static str,
    text: text::Reader,
    parse: impl Fn(&str) -> Result<T, RuleViolation>,
) -> Result<T, FieldError> {
    let text = text
        .to_str()
        .map_err(|_| RuleViolation("must be UTF-8".into()));
    text.and_then(parse)
        .map_err(|violation| FieldError::new(field, violation.0))
}

pub fn set_user(builder: user::Builder, user: &User) {
    set_fields(builder, user.id, &user.email, &user.name);
}

/// The same for a user that has just been stored.
pub fn set_new_user(builder: user::Builder, new: &NewUser) {
    set_fields(
        builder,
        new.id.uuid(),
        new.email.as_str(),
        new.name.as_str(),
    );
}

fn set_fields(mut builder: user::Builder, id: Uuid, email: &str, name: &str) {
    let mut buffer = Uuid::encode_buffer();
    builder.set_id(&*id.hyphenated().encode_lower(&mut buffer));
    builder.set_email(email);
    builder.set_name(name);
}

pub fn set_field_errors(mut list: struct_list::Builder<field_error::Owned>, errors: &[FieldError]) {
    for (i, FieldError { field, reason }) in (0..).zip(errors) {
        let mut error = list.reborrow().get(i);
        error.set_field(field);
        error.set_reason(&**reason);
    }
}

/// The length of a list, as Cap'n Proto counts.
pub fn len<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
