//! What the scripted service tells a client of one user.

/// What the service tells of one user, by a response or by an exception.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// Stored, by this call as far as the service knows.
    Created,
    /// Stored by an earlier call.
    Replayed,
    /// Refused: another user has the e-mail address.
    EmailTaken,
    /// Refused: another user has the id.
    IdConflict,
    /// Refused: a field breaks a rule.
    Invalid,
    /// Nothing was written.
    Overloaded,
    /// It may or may not have been written.
    Failed,
    /// The service has no such method.
    Unimplemented,
    /// Something that only a later contract has a member for, in the place of an outcome.
    LaterOutcome,
    /// The same in the place of the result of one of many, which tells whether there is an outcome.
    LaterResult,
}

impl Answer {
    /// Every answer that one of many users can have.
    pub const OF_ONE_OF_MANY: [Self; 9] = [
        Self::Created,
        Self::Replayed,
        Self::EmailTaken,
        Self::IdConflict,
        Self::Invalid,
        Self::Overloaded,
        Self::Failed,
        Self::LaterOutcome,
        Self::LaterResult,
    ];
}
