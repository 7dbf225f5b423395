//! Settles rows: creates their users, and tries again until it is known what became of each.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use users_client::{Backoff, CallError, CallOptions, LocalClient, NewUser};

use super::progress::Progress;
use super::rows::{Fields, Row};
use crate::outcome::{FieldNames, Outcome};
use crate::status;

/// The first pause before a row is tried again that the service could not take, and the longest one.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Calls in flight for a chunk at a service that has no `createUsers`.
const SINGLE_CALLS: usize = 256;

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
    /// Creates the users of rows. While the service is away or overloaded, tries again for as long as
    /// `patience`, or until the import stops: their ids make that safe.
    pub async fn settle(&self, rows: Vec<Row>) -> Vec<SettledRow> {
        let mut users = Vec::with_capacity(rows.len());
        let rows = rows.into_iter().map(|row| {
            let user = row.user.map(|user| users.push(user));
            (row.line, row.fields, user)
        });
        let rows: Vec<_> = rows.collect();

        let mut outcomes = self.create(&users).await.into_iter();
        let unknown = || Outcome::from(CallError::OutcomeUnknown("it has no outcome".into()));
        let settle = |(line, fields, user): (_, _, Result<(), String>)| SettledRow {
            line,
            fields,
            outcome: user.map(|()| outcomes.next().unwrap_or_else(unknown)),
        };
        rows.into_iter().map(settle).collect()
    }

    /// Creates users. The outcomes are in their order.
    async fn create(&self, users: &[NewUser]) -> Vec<Outcome> {
        let end = Instant::now() + self.patience;
        let mut in_flight = InFlight::new(&self.in_flight, users.len());
        let mut backoff = Backoff::new(RETRY_PAUSE.0, RETRY_PAUSE.1);
        let outcomes = self.attempt(users).await.into_iter();
        let mut attempted: Vec<Attempted> = outcomes.map(Attempted::once).collect();

        while let Some(why) = attempted.iter().find_map(Attempted::retry_reason) {
            let unsettled = attempted.iter().filter(|user| !user.is_settled());
            in_flight.set(unsettled.count());
            let pause = backoff.next_pause();
            if Instant::now() + pause > end {
                break;
            }
            self.progress.tries_again(&why);
            if self.stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }

            let pairs = attempted.iter_mut().zip(users);
            let pairs = pairs.filter(|(attempted, _)| !attempted.is_settled());
            let (again, users): (Vec<_>, Vec<NewUser>) = pairs
                .map(|(attempted, user)| (attempted, user.clone()))
                .unzip();

            let latest = self.attempt(&users).await;
            for (attempted, latest) in again.into_iter().zip(latest) {
                attempted.add(latest);
            }
        }
        attempted.into_iter().map(Attempted::outcome).collect()
    }

    /// Attempts to create users once, together or, where the service is too old for that, one by one.
    async fn attempt(&self, users: &[NewUser]) -> Vec<Outcome> {
        let results = self.client.create_users(users, self.options).await;
        let settle = async |(result, user)| match result {
            Err(CallError::Unimplemented) => self.client.create_user(user, self.options).await,
            result => result,
        };
        let settled = stream::iter(results.into_iter().zip(users)).map(settle);
        settled
            .buffered(SINGLE_CALLS)
            .map(Outcome::from)
            .collect()
            .await
    }
}

/// How many users of a chunk are not settled, as a part of those of all chunks.
struct InFlight<'a> {
    all: &'a Cell<usize>,
    count: usize,
}

impl<'a> InFlight<'a> {
    fn new(all: &'a Cell<usize>, count: usize) -> Self {
        all.update(|all| all + count);
        Self { all, count }
    }

    fn set(&mut self, count: usize) {
        self.all.update(|all| all - self.count + count);
        self.count = count;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What became of a user in the attempts so far.
struct Attempted {
    outcome: Outcome,
    /// Why the last attempt has not settled it, unless there was one only.
    last_failure: Option<String>,
}

impl Attempted {
    fn once(outcome: Outcome) -> Self {
        Self {
            outcome,
            last_failure: None,
        }
    }

    fn is_settled(&self) -> bool {
        !matches!(
            self.outcome,
            Outcome::Unavailable { .. } | Outcome::Unknown { .. }
        )
    }

    /// Why it must be attempted again; `None` when it is settled.
    fn retry_reason(&self) -> Option<String> {
        let reason = || {
            let last = self.last_failure.clone();
            last.unwrap_or_else(|| self.outcome.message(FieldNames::Columns))
        };
        (!self.is_settled()).then(reason)
    }

    /// What two attempts to create the same user say together. Once one may have written, the outcome is
    /// unknown until one settles it; and a replay may then be of what this import itself stored.
    fn add(&mut self, latest: Outcome) {
        self.last_failure = Some(latest.message(FieldNames::Columns));
        let is_unknown = matches!(self.outcome, Outcome::Unknown { .. });
        self.outcome = match latest {
            Outcome::Unavailable { .. } | Outcome::Unimplemented { .. } if is_unknown => return,
            Outcome::Replayed { user } if is_unknown => Outcome::Created { user },
            latest => latest,
        };
    }

    /// The outcome. Of an unknown one, says also why the attempts since then have not settled it.
    fn outcome(self) -> Outcome {
        match (self.outcome, self.last_failure) {
            (Outcome::Unknown { detail, id }, Some(last)) if last != detail => {
                let detail = format!("{detail}; then {last}");
                Outcome::Unknown { detail, id }
            }
            (outcome, _) => outcome,
        }
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
