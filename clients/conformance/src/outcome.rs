//! The promise: what a client may say of a create, by what its attempts were told.

use std::fmt;

use crate::Answer;

/// What became of a create, as a client reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The user is stored, by this create as far as anyone knows.
    Created,
    /// The user is stored, and an earlier create stored it.
    Replayed,
    /// Another user has the e-mail address.
    EmailTaken,
    /// Another user has the id.
    IdConflict,
    /// A field breaks a rule.
    Invalid,
    /// Nothing was written.
    Unavailable,
    /// The user may or may not be stored.
    Unknown,
    /// The service has no such method, and nothing was written.
    Unimplemented,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Replayed,
        Self::EmailTaken,
        Self::IdConflict,
        Self::Invalid,
        Self::Unavailable,
        Self::Unknown,
        Self::Unimplemented,
    ];

    /// The word for it in the line protocol.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replayed => "replayed",
            Self::EmailTaken => "emailTaken",
            Self::IdConflict => "idConflict",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Unimplemented => "unimplemented",
        }
    }

    /// The only right outcome of a create whose attempts were told this, in their order. `None` is an attempt
    /// that reached the service and got no answer.
    pub fn after(answers: impl IntoIterator<Item = Option<Answer>>) -> Self {
        let mut may_be_written = false;
        let mut outcome = Self::Unavailable;
        for answer in answers {
            outcome = match answer {
                Some(Answer::Created) => Self::Created,
                // The earlier call may be an attempt of this create.
                Some(Answer::Replayed) if may_be_written => Self::Created,
                Some(Answer::Replayed) => Self::Replayed,
                Some(Answer::EmailTaken) => Self::EmailTaken,
                Some(Answer::IdConflict) => Self::IdConflict,
                Some(Answer::Invalid) => Self::Invalid,
                // They tell of this attempt, and settle no earlier one.
                Some(Answer::Overloaded | Answer::Unimplemented) if may_be_written => Self::Unknown,
                Some(Answer::Overloaded) => Self::Unavailable,
                Some(Answer::Unimplemented) => Self::Unimplemented,
                // What nobody can read may say that it was written.
                Some(Answer::Failed | Answer::LaterOutcome | Answer::LaterResult) | None => {
                    may_be_written = true;
                    Self::Unknown
                }
            };
        }
        outcome
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.word())
    }
}
