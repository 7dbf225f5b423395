//! Settles one row: creates its user, and tries again until it is known what became of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use users_client::{Backoff, CallOptions, LocalClient, NewUser};

use super::progress::Progress;
use super::rows::{Fields, Row};
use crate::outcome::{FieldNames, Outcome};
use crate::status;

/// The first pause before a row is tried again that the service could not take, and the longest one.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A row, and what became of it.
pub struct SettledRow {
    pub line: u64,
    pub fields: Fields,
    /// Of the call; the error is what is wrong with the text of the row.
    outcome: Result<Outcome, String>,
}

/// Settles the rows of one import.
pub struct Settler<'a> {
    pub client: &'a LocalClient,
    pub options: &'a CallOptions,
    /// How long to go on trying.
    pub patience: Duration,
    /// Cancelled when no row is to be tried again.
    pub stop: &'a CancellationToken,
    pub progress: &'a Progress,
    /// Rows that are being settled.
    pub in_flight: Cell<usize>,
}

impl Settler<'_> {
    /// Creates the user of a row. While the service is away or overloaded, tries again for as long as
    /// `patience`, or until the import stops: the id makes that safe.
    pub async fn settle(&self, row: Row) -> SettledRow {
        self.in_flight.set(self.in_flight.get() + 1);
        let outcome = match row.user {
            Ok(user) => Ok(self.create(&user).await),
            Err(malformed) => Err(malformed),
        };
        self.in_flight.set(self.in_flight.get() - 1);
        SettledRow {
            line: row.line,
            fields: row.fields,
            outcome,
        }
    }

    async fn create(&self, user: &NewUser) -> Outcome {
        let end = Instant::now() + self.patience;
        let mut backoff = Backoff::new(RETRY_PAUSE.0, RETRY_PAUSE.1);
        let attempt = async || Outcome::from(self.client.create_user(user, self.options).await);
        let mut outcome = attempt().await;
        let mut last_failure = None;
        while let Outcome::Unavailable { .. } | Outcome::Unknown { .. } = outcome {
            let why = last_failure.unwrap_or_else(|| outcome.message(FieldNames::Columns));
            let pause = backoff.next_pause();
            let is_over = Instant::now() + pause > end;
            if !is_over {
                self.progress.tries_again(&why);
            }
            last_failure = Some(why);
            if is_over || self.stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            let latest = attempt().await;
            last_failure = Some(latest.message(FieldNames::Columns));
            outcome = after(outcome, latest);
        }
        with_last_failure(outcome, last_failure)
    }
}

/// What two attempts to create the same user say together. Once one may have written, the outcome is
/// unknown until one settles it; and a replay may then be of what this import itself stored.
fn after(earlier: Outcome, later: Outcome) -> Outcome {
    match (earlier, later) {
        (
            unknown @ Outcome::Unknown { .. },
            Outcome::Unavailable { .. } | Outcome::Unimplemented { .. },
        ) => unknown,
        (Outcome::Unknown { .. }, Outcome::Replayed { user }) => Outcome::Created { user },
        (_, later) => later,
    }
}

/// Says of an unknown outcome also why the attempts since then have not settled it.
fn with_last_failure(outcome: Outcome, last_failure: Option<String>) -> Outcome {
    match (outcome, last_failure) {
        (Outcome::Unknown { detail, id }, Some(last)) if last != detail => {
            let detail = format!("{detail}; then {last}");
            Outcome::Unknown { detail, id }
        }
        (outcome, _) => outcome,
    }
}

impl SettledRow {
    /// Whether it is known for good what became of the row: repeating it changes nothing.
    pub fn is_settled(&self) -> bool {
        self.status() <= status::REFUSED
    }

    /// Whether its user is there now.
    pub fn is_stored(&self) -> bool {
        self.status() == status::DONE
    }

    /// The exit status that stands for its outcome.
    pub fn status(&self) -> u8 {
        self.outcome
            .as_ref()
            .map_or(status::REFUSED, Outcome::status)
    }

    /// The name under which the report counts it.
    pub fn kind(&self) -> &'static str {
        self.outcome.as_ref().map_or("malformed", Outcome::name)
    }

    /// Why its user is not there.
    pub fn reason(&self) -> String {
        match &self.outcome {
            Ok(outcome) => outcome.message(FieldNames::Columns),
            Err(malformed) => malformed.clone(),
        }
    }
}
