//! Why a statement failed.

use std::sync::LazyLock;
use std::time::Duration;

use postgres::error::{DbError, Severity, SqlState};
use service_runtime::throttle::Throttle;

use super::sqlstate::condition_name;

/// Pause between two log lines on the same condition.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// Lines by the name of the condition.
static LINES: LazyLock<Throttle<&str>> = LazyLock::new(|| Throttle::new(LOG_PAUSE));

/// Why a statement failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatementError {
    /// There was no connection to run it on.
    NoConnection,
    /// The connection broke: the statement may or may not have been carried out.
    ConnectionLost,
    /// The server has committed, and warned that a standby may not have the rows.
    NotReplicated,
    /// The data of a row are at fault.
    ConstraintViolation,
    /// Someone else holds a lock on a row for too long.
    LockTimeout,
    /// The server undid it in favour of a concurrent transaction, or to end a deadlock.
    SerializationFailure,
    /// The server could not carry it out.
    Failed,
}

impl From<&postgres::Error> for StatementError {
    /// Classifies an error (PostgreSQL documentation, appendix A), and logs it.
    fn from(error: &postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else {
            if let Some(left_out) = LINES.admit("the connection broke") {
                tracing::warn!(%error, left_out, "a connection to PostgreSQL broke");
            }
            return Self::ConnectionLost;
        };

        let (code, class) = (server.code(), class_of(server));
        let (sqlstate, condition) = (code.code(), condition_name(code));
        if let Some(left_out) = LINES.admit(condition) {
            // Not the message, which can quote the values of a row.
            tracing::warn!(sqlstate, condition, error = ?class, left_out, "PostgreSQL refused a statement");
        }
        class
    }
}

/// Whether the data of a row are at fault. Logs nothing.
pub fn is_constraint_violation(error: &postgres::Error) -> bool {
    let server = error.as_db_error();
    server.is_some_and(|server| class_of(server) == StatementError::ConstraintViolation)
}

fn class_of(server: &DbError) -> StatementError {
    let code = server.code();
    match &code.code()[..2] {
        _ if may_have_committed(server) => StatementError::ConnectionLost,
        "22" | "23" => StatementError::ConstraintViolation,
        "40" => StatementError::SerializationFailure,
        _ if *code == SqlState::LOCK_NOT_AVAILABLE => StatementError::LockTimeout,
        _ => StatementError::Failed,
    }
}

/// Whether an error does not tell that the statement was undone.
///
/// It ends the connection, perhaps after a commit; or, as an error of a pooler or of what a trigger calls, says that
/// a connection behind it broke (class 08), or that it is not known whether a statement was completed (40003).
fn may_have_committed(error: &DbError) -> bool {
    let ends_connection = match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // It comes from before PostgreSQL 9.6, or not from PostgreSQL.
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    };
    let code = error.code();
    ends_connection
        || code.code().starts_with("08")
        || *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
}
