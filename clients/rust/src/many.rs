//! Creating many users: how they are packed into calls, and what became of each.

use capnp::struct_list;
use tokio::time::{Instant, timeout};
use users_rpc::users_capnp::{create_users_response, create_users_result, new_user};
use uuid::Uuid;

use crate::capability::UsersCapability;
use crate::local::{LocalClient, check_size, decode_create_outcome, decode_errors, encode_context};
use crate::retry::{Attempt, Effect};
use crate::types::{CallError, CallOptions, CreateOutcome, NewUser, Result};

/// Users that one call creates at most (the contract).
pub const MAX_USERS: usize = 500;
/// Bytes of their texts, in all (the contract): less than other requests may have, as each text takes up to 16 bytes
/// more in the message.
const MAX_USERS_TEXT_BYTES: usize = 88 * 1024;
/// Characters of an id.
const ID_BYTES: usize = 36;

type Results = Vec<Result<CreateOutcome>>;

impl LocalClient {
    /// Stores users, each exactly once and with an outcome of its own. The results are in the order of `new`.
    ///
    /// They go in calls of up to 500, one after the other, each with the time that `options` give. When a call fails
    /// as a whole, so does each of its users, and those after it are not sent.
    pub async fn create_users(&self, new: &[NewUser], options: &CallOptions) -> Results {
        let mut results = Results::with_capacity(new.len());
        let mut rest = new;
        while let Some(first) = rest.first() {
            if let Err(error) = check_size([("email", &first.email), ("name", &first.name)]) {
                results.push(Ok(CreateOutcome::Invalid(vec![error])));
                rest = &rest[1..];
                continue;
            }
            let (call, after) = rest.split_at(fitting(rest));
            rest = after;
            match self.create_users_at_once(call, options).await {
                Ok(outcomes) => results.extend(outcomes),
                Err(failure) => {
                    results.extend(call.iter().map(|_| Err(failure.clone())));
                    let not_sent = not_sent_after(failure);
                    results.extend(rest.iter().map(|_| Err(not_sent.clone())));
                    break;
                }
            }
        }
        results
    }

    async fn create_users_at_once(
        &self,
        new: &[NewUser],
        options: &CallOptions,
    ) -> Result<Results> {
        let begin = Instant::now();
        let turn = timeout(options.timeout, self.0.for_many.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let why = "as many calls for many users as allowed are in flight";
            return Err(CallError::NotExecuted(why.into()));
        };

        let send = |users: &UsersCapability, attempt: Attempt| {
            let mut request = users.create_users();
            let mut params = request.get();
            encode_context(params.reborrow().init_context(), &attempt, options);
            encode_users(params.init_users(length(new)), new);
            let (response, count) = (request.send().promise, new.len());
            async move { decode_results(response.await?.get()?, count, &attempt) }
        };
        let left = options.timeout.saturating_sub(begin.elapsed());
        self.0.call(Effect::Write, left, send).await
    }
}

/// How many of the users one call can carry.
fn fitting(users: &[NewUser]) -> usize {
    let mut left = MAX_USERS_TEXT_BYTES;
    let fits = |user: &&NewUser| {
        let fits = left.checked_sub(ID_BYTES + user.email.len() + user.name.len());
        left = fits.unwrap_or_default();
        fits.is_some()
    };
    // One whose texts fit into a request goes by itself.
    users.iter().take(MAX_USERS).take_while(fits).count().max(1)
}

/// The failure of users that come after a call that failed.
fn not_sent_after(failure: CallError) -> CallError {
    match failure {
        CallError::OutcomeUnknown(cause) => {
            CallError::NotExecuted(format!("not sent, because the call before failed: {cause}"))
        }
        failure => failure,
    }
}

fn length(users: &[NewUser]) -> u32 {
    u32::try_from(users.len()).unwrap_or(u32::MAX)
}

fn encode_users(mut list: struct_list::Builder<new_user::Owned>, users: &[NewUser]) {
    for (i, new) in (0..).zip(users) {
        let mut user = list.reborrow().get(i);
        user.set_id(new.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str);
        user.set_email(new.email.as_str());
        user.set_name(new.name.as_str());
    }
}

fn decode_results(
    response: create_users_response::Reader,
    count: usize,
    attempt: &Attempt,
) -> capnp::Result<Results> {
    match response.which()? {
        create_users_response::Results(results) => {
            let results = results?;
            if results.len() as usize != count {
                let why = "there are not as many results as users";
                return Err(capnp::Error::failed(why.into()));
            }
            Ok(results
                .iter()
                .map(|result| decode_result(result, attempt))
                .collect())
        }
        create_users_response::Invalid(errors) => {
            let invalid = CreateOutcome::Invalid(decode_errors(errors?)?);
            Ok(vec![Ok(invalid); count])
        }
    }
}

/// What became of one user. Whatever cannot be read of it says nothing of the others.
fn decode_result(result: create_users_result::Reader, attempt: &Attempt) -> Result<CreateOutcome> {
    let failed = || CallError::OutcomeUnknown("the service does not know".into());
    match result.which() {
        Ok(create_users_result::Done(done)) => {
            let outcome = done.and_then(|done| decode_create_outcome(done, attempt));
            outcome.map_err(|_| CallError::OutcomeUnknown("the result cannot be read".into()))
        }
        // An attempt before may have written.
        Ok(create_users_result::Overloaded(())) if attempt.may_have_written => Err(failed()),
        Ok(create_users_result::Overloaded(())) => {
            Err(CallError::NotExecuted("the service is overloaded".into()))
        }
        Ok(create_users_result::Failed(())) | Err(_) => Err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(count: usize, name: usize) -> Vec<NewUser> {
        let user = NewUser {
            id: Uuid::nil(),
            email: "a@b.io".into(),
            name: "x".repeat(name),
        };
        vec![user; count]
    }

    #[test]
    fn call_carries_as_many_users_as_the_contract_allows() {
        assert_eq!(fitting(&users(3, 10)), 3);
        assert_eq!(fitting(&users(501, 10)), 500);
        let of_one = ID_BYTES + "a@b.io".len() + 1000;
        assert_eq!(fitting(&users(501, 1000)), MAX_USERS_TEXT_BYTES / of_one);
        assert_eq!(fitting(&users(2, MAX_USERS_TEXT_BYTES - 10)), 1);
    }
}
