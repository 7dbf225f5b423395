//! What each script of the service must look like to a client. Knows no client of ours.

use super::service::Step::{self, *};

/// A script, and the outcome of the create that meets it.
pub struct Case {
    pub script: &'static [Step],
    /// For a client that repeats a create twice, after any failure.
    pub persistent: &'static str,
    /// For a client that repeats a create once, when its connection breaks.
    pub plain: &'static str,
}

const fn same(script: &'static [Step], outcome: &'static str) -> Case {
    differs(script, outcome, outcome)
}

const fn differs(script: &'static [Step], persistent: &'static str, plain: &'static str) -> Case {
    Case {
        script,
        persistent,
        plain,
    }
}

pub const CASES: &[Case] = &[
    // One attempt tells.
    same(&[Creates], "created"),
    same(&[Replays], "replayed"),
    same(&[SaysEmailTaken], "emailTaken"),
    same(&[Unimplemented], "unimplemented"),
    // Nothing was written.
    same(&[GoesAway], "unavailable"),
    same(&[Overloaded], "unavailable"),
    same(&[OverloadedInTheEnd], "unavailable"),
    // There is no time left for a repetition.
    same(&[OverloadedInTheEnd, Creates], "unavailable"),
    // What was sent may have been written, whatever became of it.
    same(&[Fails], "unknown"),
    same(&[Hangs], "unknown"),
    same(&[SendsGarbage], "unknown"),
    same(&[DiesAfterReading], "unknown"),
    same(&[DiesBeforeReading], "unknown"),
    // It stays unknown until an attempt settles it.
    same(&[DiesAfterReading, Overloaded], "unknown"),
    same(&[DiesAfterReading, OverloadedInTheEnd], "unknown"),
    same(&[DiesAfterReading, Unimplemented], "unknown"),
    same(&[DiesAfterReading, Fails], "unknown"),
    same(&[DiesAfterReading, Hangs], "unknown"),
    same(&[DiesAfterReading, SendsGarbage], "unknown"),
    same(&[DiesAfterReading, GoesAway], "unknown"),
    same(&[DiesBeforeReading, Overloaded], "unknown"),
    same(&[DiesBeforeReading, GoesAway], "unknown"),
    same(&[Fails, Overloaded], "unknown"),
    same(&[Fails, Unimplemented], "unknown"),
    same(&[SendsGarbage, Overloaded], "unknown"),
    same(&[DiesAfterReading, SaysEmailTaken], "emailTaken"),
    same(&[DiesAfterReading, Creates], "created"),
    same(&[DiesBeforeReading, Creates], "created"),
    differs(
        &[DiesAfterReading, Overloaded, Creates],
        "created",
        "unknown",
    ),
    differs(
        &[DiesAfterReading, DiesAfterReading, Creates],
        "created",
        "unknown",
    ),
    differs(&[Fails, Creates], "created", "unknown"),
    // A replay of what the create's own first attempt may have stored is no replay.
    same(&[DiesAfterReading, Replays], "created"),
    same(&[DiesBeforeReading, Replays], "created"),
    differs(&[Fails, Replays], "created", "unknown"),
    differs(&[Fails, Overloaded, Replays], "created", "unknown"),
    // A refusal is not an attempt that may have stored it.
    differs(&[Overloaded, Creates], "created", "unavailable"),
    differs(&[Overloaded, Replays], "replayed", "unavailable"),
    differs(
        &[Overloaded, DiesAfterReading, Overloaded],
        "unknown",
        "unavailable",
    ),
];
