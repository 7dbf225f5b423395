//! What each script of the service must look like to a client, and why. Knows no client of ours.

use clap::ValueEnum;

use crate::Outcome::{
    self, Created, EmailTaken, IdConflict, Invalid, Replayed, Unavailable, Unknown,
};
use crate::Step::{
    self, AnswersByLaterContract, AnswersEachItsOwn, Creates, DiesAfterReading, DiesBeforeReading,
    Fails, GoesAway, Hangs, Overloaded, OverloadedInTheEnd, Replays, SaysEmailTaken, SendsGarbage,
    Unimplemented,
};

/// When a client repeats a create by itself.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Repeats {
    /// Up to twice, after any failure, while there is time: as the client in Rust
    Twice,
    /// Once, when its connection breaks: as the clients in Python and C++
    OnceIfDisconnected,
}

/// Cases that have one reason.
pub struct Group {
    /// Why no other outcome is right.
    pub why: &'static str,
    /// The cases.
    pub cases: &'static [Case],
}

/// A script, and the outcome of the create that meets it.
pub struct Case {
    /// The script.
    pub script: &'static [Step],
    /// For a client that repeats a create twice, after any failure.
    pub persistent: Outcome,
    /// For a client that repeats a create once, when its connection breaks.
    pub plain: Outcome,
}

impl Case {
    /// The outcome for a client that repeats in this way.
    pub fn outcome(&self, repeats: Repeats) -> Outcome {
        match repeats {
            Repeats::Twice => self.persistent,
            Repeats::OnceIfDisconnected => self.plain,
        }
    }
}

/// A script for a call that creates nine users, and the outcome of each, for every client.
pub struct CaseOfEach {
    /// The script.
    pub script: &'static [Step],
    /// One for each user.
    pub outcomes: [Outcome; 9],
    /// Why no other outcomes are right.
    pub why: &'static str,
}

const fn same(script: &'static [Step], outcome: Outcome) -> Case {
    differs(script, outcome, outcome)
}

const fn differs(script: &'static [Step], persistent: Outcome, plain: Outcome) -> Case {
    Case {
        script,
        persistent,
        plain,
    }
}

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|group| group.cases)
}

/// All cases, by the reason for their outcome.
pub static GROUPS: &[Group] = &[
    Group {
        why: "The answer to the only attempt settles the create.",
        cases: &[
            same(&[Creates], Created),
            same(&[Replays], Replayed),
            same(&[SaysEmailTaken], EmailTaken),
            same(&[Unimplemented], Outcome::Unimplemented),
        ],
    },
    Group {
        why: "Nothing was sent, or every attempt was refused: nothing was written.",
        cases: &[
            same(&[GoesAway], Unavailable),
            same(&[Overloaded], Unavailable),
            same(&[OverloadedInTheEnd], Unavailable),
            // There is no time left for a repetition.
            same(&[OverloadedInTheEnd, Creates], Unavailable),
        ],
    },
    Group {
        why: "The create was sent, and no answer says what became of it.",
        cases: &[
            same(&[Fails], Unknown),
            same(&[AnswersByLaterContract], Unknown),
            same(&[Hangs], Unknown),
            same(&[SendsGarbage], Unknown),
            same(&[DiesAfterReading], Unknown),
            same(&[DiesBeforeReading], Unknown),
        ],
    },
    Group {
        why: "The first attempt may have written, whatever a later one is told of itself.",
        cases: &[
            same(&[DiesAfterReading, Overloaded], Unknown),
            same(&[DiesAfterReading, OverloadedInTheEnd], Unknown),
            same(&[DiesAfterReading, Unimplemented], Unknown),
            same(&[DiesAfterReading, Fails], Unknown),
            same(&[DiesAfterReading, AnswersByLaterContract], Unknown),
            same(&[DiesAfterReading, Hangs], Unknown),
            same(&[DiesAfterReading, SendsGarbage], Unknown),
            same(&[DiesAfterReading, GoesAway], Unknown),
            same(&[DiesBeforeReading, Overloaded], Unknown),
            same(&[DiesBeforeReading, GoesAway], Unknown),
            same(&[Fails, Overloaded], Unknown),
            same(&[Fails, Unimplemented], Unknown),
            same(&[AnswersByLaterContract, Overloaded], Unknown),
            same(&[SendsGarbage, Overloaded], Unknown),
        ],
    },
    Group {
        why: "After an attempt that may have written, the outcome is unknown until another one settles it.",
        cases: &[
            same(&[DiesAfterReading, SaysEmailTaken], EmailTaken),
            same(&[DiesAfterReading, Creates], Created),
            same(&[DiesBeforeReading, Creates], Created),
            differs(&[DiesAfterReading, Overloaded, Creates], Created, Unknown),
            differs(
                &[DiesAfterReading, DiesAfterReading, Creates],
                Created,
                Unknown,
            ),
            differs(&[Fails, Creates], Created, Unknown),
            differs(&[AnswersByLaterContract, Creates], Created, Unknown),
        ],
    },
    Group {
        why: "The earlier call that stored the user may be the create's own first attempt, and that is no replay.",
        cases: &[
            same(&[DiesAfterReading, Replays], Created),
            same(&[DiesBeforeReading, Replays], Created),
            differs(&[Fails, Replays], Created, Unknown),
            differs(&[Fails, Overloaded, Replays], Created, Unknown),
        ],
    },
    Group {
        why: "An attempt that was refused has not written, so the next one is as good as the first.",
        cases: &[
            differs(&[Overloaded, Creates], Created, Unavailable),
            differs(&[Overloaded, Replays], Replayed, Unavailable),
            differs(
                &[Overloaded, DiesAfterReading, Overloaded],
                Unknown,
                Unavailable,
            ),
        ],
    },
];

/// Cases of calls that create many users.
pub static CASES_OF_EACH: [CaseOfEach; 2] = [
    CaseOfEach {
        script: &[AnswersEachItsOwn],
        outcomes: [
            Created,
            Replayed,
            EmailTaken,
            IdConflict,
            Invalid,
            Unavailable,
            Unknown,
            Unknown,
            Unknown,
        ],
        why: "Each user of a call has an outcome of its own.",
    },
    CaseOfEach {
        script: &[DiesAfterReading, AnswersEachItsOwn],
        outcomes: [
            Created, Created, EmailTaken, IdConflict, Invalid, Unknown, Unknown, Unknown, Unknown,
        ],
        why: "The lost attempt may have stored the user that is replayed now, and the one that is refused now.",
    },
];
