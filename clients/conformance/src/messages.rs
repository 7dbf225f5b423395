//! Reads the users of requests, and writes what becomes of them into responses.

use capnp::{Error, struct_list, text};
use users_rpc::users_capnp::{
    create_user_response, create_users_response, create_users_result, new_user, users,
};

use crate::later_contract::later_member;
use crate::{Answer, NewUser};

/// The user of a request with this id, e-mail address and name.
pub fn new_user([id, email, name]: [text::Reader; 3]) -> Result<NewUser, Error> {
    Ok(NewUser {
        id: id.to_string()?,
        email: email.to_string()?,
        name: name.to_string()?,
    })
}

/// Writes the answer to a call that creates the user with this id, e-mail address and name.
pub fn write_answer(
    answer: Answer,
    user: [text::Reader; 3],
    results: &mut users::CreateUserResults,
) -> Result<(), Error> {
    if answer == Answer::LaterOutcome {
        return results.set(later_member::<create_user_response::Owned>()?.get()?);
    }
    write_outcome(answer, user, results.get());
    Ok(())
}

/// Writes the answers that these users get in turn. If each would get the same that only a later contract has, the
/// call gets it as a whole.
pub fn write_answers(
    answers: &[Answer],
    users: struct_list::Reader<new_user::Owned>,
    results: &mut users::CreateUsersResults,
) -> Result<(), Error> {
    if answers == [Answer::LaterOutcome] {
        return results.set(later_member::<create_users_response::Owned>()?.get()?);
    }
    let mut list = results.get().init_results(users.len());
    for ((i, new), answer) in (0..).zip(users.iter()).zip(answers.iter().cycle()) {
        let mut result = list.reborrow().get(i);
        match answer {
            Answer::Overloaded => result.set_overloaded(()),
            Answer::Failed => result.set_failed(()),
            Answer::LaterOutcome => {
                result.set_done(later_member::<create_user_response::Owned>()?.get()?)?;
            }
            Answer::LaterResult => {
                list.set_with_caveats(i, later_member::<create_users_result::Owned>()?.get()?)?;
            }
            _ => {
                let user = [new.get_id()?, new.get_email()?, new.get_name()?];
                write_outcome(*answer, user, result.init_done());
            }
        }
    }
    Ok(())
}

fn write_outcome(
    answer: Answer,
    [id, email, name]: [text::Reader; 3],
    mut response: create_user_response::Builder,
) {
    response.set_replayed(matches!(answer, Answer::Replayed));
    match answer {
        Answer::Created | Answer::Replayed => {
            let mut user = response.init_user();
            user.set_id(id);
            user.set_email(email);
            user.set_name(name);
        }
        Answer::EmailTaken => response.set_email_taken(()),
        Answer::IdConflict => response.set_id_conflict(()),
        Answer::Invalid => {
            let mut error = response.init_invalid(1).get(0);
            error.set_field("email");
            error.set_reason("must be better");
        }
        Answer::Overloaded
        | Answer::Failed
        | Answer::Unimplemented
        | Answer::LaterOutcome
        | Answer::LaterResult => unreachable!("a create has no such outcome"),
    }
}
