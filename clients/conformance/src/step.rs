//! What the scripted service does to a create, one step for each attempt of the client.

use crate::Answer;

/// What the service does with a create, and with each user of a call that creates many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Says that it stored the user.
    Creates,
    /// Says that an earlier call stored the user.
    Replays,
    /// Says that another user has the e-mail address.
    SaysEmailTaken,
    /// Gives the users of a call every answer there is, in turn.
    AnswersEachItsOwn,
    /// Refuses the call as `overloaded`.
    Overloaded,
    /// Refuses the call as `overloaded` when the time is over that its caller gave.
    OverloadedInTheEnd,
    /// Answers with the exception `failed`.
    Fails,
    /// Answers with the exception `unimplemented`.
    Unimplemented,
    /// Answers what only a later contract has a member for.
    AnswersByLaterContract,
    /// Never answers.
    Hangs,
    /// Answers with bytes that are no message.
    SendsGarbage,
    /// Ends the connection when it has read the call.
    DiesAfterReading,
    /// Ends when the bytes of the call have arrived, and are not looked at.
    DiesBeforeReading,
    /// Refuses connections from now on. Comes after a step that ends the connection, or first.
    GoesAway,
}

impl Step {
    /// What the users of a call are told in turn, if they are told anything.
    pub fn answers(self) -> Option<&'static [Answer]> {
        match self {
            Self::Creates => Some(&[Answer::Created]),
            Self::Replays => Some(&[Answer::Replayed]),
            Self::SaysEmailTaken => Some(&[Answer::EmailTaken]),
            Self::AnswersEachItsOwn => Some(&Answer::OF_ONE_OF_MANY),
            Self::Overloaded | Self::OverloadedInTheEnd => Some(&[Answer::Overloaded]),
            Self::Fails => Some(&[Answer::Failed]),
            Self::Unimplemented => Some(&[Answer::Unimplemented]),
            Self::AnswersByLaterContract => Some(&[Answer::LaterOutcome]),
            Self::Hangs
            | Self::SendsGarbage
            | Self::DiesAfterReading
            | Self::DiesBeforeReading
            | Self::GoesAway => None,
        }
    }

    fn name(self) -> &'static str {
        self.name_and_words().0
    }

    fn words(self) -> &'static str {
        self.name_and_words().1
    }

    /// Its part in the name of a case, which stays as it is, and what the service does, for people.
    fn name_and_words(self) -> (&'static str, &'static str) {
        match self {
            Self::Creates => ("creates", "stores the user"),
            Self::Replays => ("replays", "answers that an earlier call stored the user"),
            Self::SaysEmailTaken => ("email-taken", "answers that the e-mail address is taken"),
            Self::AnswersEachItsOwn => ("answers-each-its-own", "gives each user another answer"),
            Self::Overloaded => ("overloaded", "refuses the call as overloaded"),
            Self::OverloadedInTheEnd => (
                "overloaded-in-the-end",
                "refuses the call as overloaded when the time that it was given is over",
            ),
            Self::Fails => ("fails", "answers that the call failed"),
            Self::Unimplemented => ("unimplemented", "answers that it has no such method"),
            Self::AnswersByLaterContract => (
                "later-contract",
                "answers with an outcome that only a later contract has",
            ),
            Self::Hangs => ("hangs", "never answers"),
            Self::SendsGarbage => ("sends-garbage", "answers with bytes that are no message"),
            Self::DiesAfterReading => (
                "dies-after-reading",
                "ends the connection when it has read the call",
            ),
            Self::DiesBeforeReading => (
                "dies-before-reading",
                "ends the connection before it reads the call",
            ),
            Self::GoesAway => ("goes-away", "refuses connections"),
        }
    }
}

/// The name of a script, such as `overloaded-then-creates`.
pub fn name_of(script: &[Step]) -> String {
    joined(script, Step::name, "-then-")
}

/// What the service does, in words whose subject it is.
pub fn words_of(script: &[Step]) -> String {
    joined(script, Step::words, ", then ")
}

fn joined(script: &[Step], part: fn(Step) -> &'static str, between: &str) -> String {
    let parts: Vec<&str> = script.iter().copied().map(part).collect();
    parts.join(between)
}
