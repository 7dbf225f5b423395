//! Flaws that the real system does not have. The check is worth something if it finds each of them.

/// A mistake that is built into the model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// The gateway answers 503 where an attempt may have written.
    UnavailableWhereUnknown,
    /// A later `overloaded` makes the gateway forget that an attempt may have written.
    OverloadedForgets,
    /// Each attempt has an id of its own.
    IdForEachAttempt,
    /// A call that was refused stays in the queue.
    RefusedCallIsExecuted,
    /// After a lost answer, a batch is told not to have been executed, instead of being repeated.
    LostAnswerIsNotExecuted,
    /// A repeated batch takes its own rows for those of an earlier request.
    RepeatedBatchIsReplay,
    /// A replay is recognised by its id alone.
    ReplayByIdAlone,
    /// Two users may have one id.
    NoPrimaryKey,
    /// A replay is answered without waiting for the synchronous standby.
    ReplayWaitsForNobody,
    /// That an address is taken is answered without waiting, too.
    EmailTakenWaitsForNobody,
    /// A batch that fails after its insert has committed is told not to have been executed.
    InsertBeforeFailureIsForgotten,
    /// The warning that the wait for the standby was cancelled is taken for a success.
    CancelledWaitIsSuccess,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::UnavailableWhereUnknown,
        Self::OverloadedForgets,
        Self::IdForEachAttempt,
        Self::RefusedCallIsExecuted,
        Self::LostAnswerIsNotExecuted,
        Self::RepeatedBatchIsReplay,
        Self::ReplayByIdAlone,
        Self::NoPrimaryKey,
        Self::ReplayWaitsForNobody,
        Self::EmailTakenWaitsForNobody,
        Self::InsertBeforeFailureIsForgotten,
        Self::CancelledWaitIsSuccess,
    ];
}
