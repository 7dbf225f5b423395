//! The methods that create users: one, or many with an outcome for each.

use std::sync::Arc;

use capnp::struct_list;
use users_rpc::users_capnp::users::{
    CreateUserParams, CreateUserResults, CreateUsersParams, CreateUsersResults,
};
use users_rpc::users_capnp::{create_user_response, create_users_result, new_user};

use super::messages::{
    CallContext, FieldError, check_count, len, read_new_user, set_field_errors, set_new_user,
};
use crate::call::{Calls, Interface};
use crate::outcome::{BatchResults, CallFailure, InsertOutcome};
use crate::queues::QueueHandles;
use crate::user::NewUser;

/// Creates the user of a request.
pub async fn create_user(
    calls: &Calls,
    queues: &QueueHandles,
    params: CreateUserParams,
    mut results: CreateUserResults,
) -> Result<(), capnp::Error> {
    let request = params.get()?;
    let context = CallContext::read(request.get_context()?);
    let create = async |trace| {
        let (id, email, name) = (request.get_id()?, request.get_email()?, request.get_name()?);
        let new = match read_new_user(id, email, name) {
            Ok(new) => new,
            Err(errors) => {
                set_field_errors(results.get().init_invalid(len(&errors)), &errors);
                return Ok(());
            }
        };
        let insert = queues.insert(&new, context.deadline, trace);
        let outcome = insert.await?;
        Ok(set_outcome(results.get(), outcome, &new)?)
    };
    calls
        .run(Interface::Users, "createUser", context.parent, create)
        .await
}

/// Creates the users of a request. Fails only when none of them has an outcome.
pub async fn create_users(
    calls: &Calls,
    queues: &QueueHandles,
    params: CreateUsersParams,
    mut results: CreateUsersResults,
) -> Result<(), capnp::Error> {
    let request = params.get()?;
    let context = CallContext::read(request.get_context()?);
    let create = async |trace| {
        let users = request.get_users()?;
        if let Err(error) = check_count(users.len()) {
            set_field_errors(results.get().init_invalid(1), &[error]);
            return Ok(());
        }

        let _permits = calls.many_users(context.deadline).await?;
        let checked = CheckedUsers::read(users)?;
        let insert = queues.insert_many(&checked.valid, context.deadline, trace);
        let inserted = insert.await;
        if checked.faults.iter().all(Option::is_none)
            && let Some(failure) = failure_of_all(&inserted)
        {
            return Err(failure.into());
        }
        checked.set_results(results.get().init_results(users.len()), inserted);
        Ok(())
    };
    calls
        .run(Interface::Users, "createUsers", context.parent, create)
        .await
}

/// The users of a `createUsers` request, each read and checked.
struct CheckedUsers {
    /// Of each user of the request.
    faults: Vec<Option<Vec<FieldError>>>,
    /// Those without a fault, in their order.
    valid: Arc<[NewUser]>,
}

impl CheckedUsers {
    fn read(users: struct_list::Reader<new_user::Owned>) -> capnp::Result<Self> {
        let mut valid = Vec::with_capacity(users.len() as usize);
        let mut faults = Vec::with_capacity(users.len() as usize);
        for user in users {
            let checked = read_new_user(user.get_id()?, user.get_email()?, user.get_name()?);
            faults.push(checked.map(|new| valid.push(new)).err());
        }
        let valid = valid.into();
        Ok(Self { faults, valid })
    }

    /// Says what became of each, where `inserted` is what became of those without a fault.
    fn set_results(
        self,
        mut results: struct_list::Builder<create_users_result::Owned>,
        inserted: BatchResults<InsertOutcome>,
    ) {
        let mut inserted = self.valid.iter().zip(inserted);
        for (i, fault) in (0..).zip(self.faults) {
            let mut result = results.reborrow().get(i);
            let done = result.reborrow().init_done();
            if let Some(errors) = fault {
                set_field_errors(done.init_invalid(len(&errors)), &errors);
                continue;
            }

            let known = match inserted.next() {
                Some((new, inserted)) => {
                    inserted.and_then(|outcome| set_outcome(done, outcome, new))
                }
                None => Err(CallFailure::OutcomeUnknown),
            };
            match known {
                Ok(()) => {}
                Err(CallFailure::NotExecuted) => result.set_overloaded(()),
                Err(CallFailure::OutcomeUnknown) => result.set_failed(()),
            }
        }
    }
}

/// The failure of a call in which each user has failed.
fn failure_of_all(inserted: &[Result<InsertOutcome, CallFailure>]) -> Option<CallFailure> {
    let mut failures = inserted.iter().map(|inserted| inserted.err());
    failures.try_fold(CallFailure::NotExecuted, |all, failure| match failure? {
        CallFailure::NotExecuted => Some(all),
        unknown @ CallFailure::OutcomeUnknown => Some(unknown),
    })
}

/// Says what became of a user, or why that cannot be said.
fn set_outcome(
    mut response: create_user_response::Builder,
    outcome: InsertOutcome,
    new: &NewUser,
) -> Result<(), CallFailure> {
    match outcome {
        InsertOutcome::Created | InsertOutcome::Replayed => {
            response.set_replayed(outcome == InsertOutcome::Replayed);
            set_new_user(response.init_user(), new);
        }
        InsertOutcome::EmailTaken => response.set_email_taken(()),
        InsertOutcome::IdConflict => response.set_id_conflict(()),
        InsertOutcome::Contended => return Err(CallFailure::NotExecuted),
        InsertOutcome::Refused => {
            let error = FieldError::new("", "is refused by the database");
            set_field_errors(response.init_invalid(1), &[error]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_in_which_all_users_fail_has_written_nothing_only_if_that_is_true_of_each() {
        use CallFailure::{NotExecuted, OutcomeUnknown};
        let created = Ok(InsertOutcome::Created);
        assert_eq!(failure_of_all(&[Err(NotExecuted); 2]), Some(NotExecuted));
        for mixed in [
            [Err(NotExecuted), Err(OutcomeUnknown)],
            [Err(OutcomeUnknown), Err(NotExecuted)],
        ] {
            assert_eq!(failure_of_all(&mixed), Some(OutcomeUnknown));
        }
        assert_eq!(failure_of_all(&[Err(NotExecuted), created]), None);
    }
}
