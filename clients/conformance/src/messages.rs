//! Reads the users of requests, and writes what becomes of them into responses.

use capnp::{Error, text};
use users_rpc::users_capnp::create_user_response;

use crate::{Answer, NewUser};

/// The user of a request with this id, e-mail address and name.
pub fn new_user([id, email, name]: [text::Reader; 3]) -> Result<NewUser, Error> {
    Ok(NewUser {
        id: id.to_string()?,
        email: email.to_string()?,
        name: name.to_string()?,
    })
}

/// Writes an answer of a user with this id, e-mail address and name.
pub fn write_answer(
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
        Answer::Overloaded | Answer::Failed | Answer::Unimplemented => {
            unreachable!("a create has no such answer")
        }
    }
}
