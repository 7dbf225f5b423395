//! What becomes of a call: the outcomes of an insert, and the two ways to have none.

/// What became of a user to insert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InsertOutcome {
    /// It is stored now.
    Created,
    /// It was stored before, with the same id, e-mail address and name.
    Replayed,
    /// Another user has its e-mail address.
    EmailTaken,
    /// A user with its id has another e-mail address or name.
    IdConflict,
    /// A constraint that this service does not know keeps it out.
    Refused,
    /// Nothing was written, because someone else has been writing a user with its id or e-mail address for as
    /// long as the statement could wait.
    Contended,
}

/// Why a call has no outcome. Exactly the two exceptions that leave the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallFailure {
    /// Nothing was written; the caller may try again.
    #[error("nothing was written; try again later")]
    NotExecuted,
    /// The write may or may not have happened.
    #[error("the outcome is not known; repeat with the same id")]
    OutcomeUnknown,
}

/// What became of each query of a batch, in the order of the queries.
pub type BatchResults<A> = Vec<Result<A, CallFailure>>;
