//! Settles one row: creates its user, and tries again until it is known what became of it.

use std::time::{Duration, Instant};

use futures::stream::AbortHandle;
use tokio::time::sleep;
use users_client::{Backoff, CallOptions, LocalClient, NewUser};

use super::rows::Row;
use crate::outcome::Outcome;

/// The first pause before a row is tried again that the service could not take, and the longest one.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A row, and what became of it.
pub struct SettledRow {
    pub line: u64,
    pub user: Option<NewUser>,
    /// Of the call; the error is what is wrong with the text of the row.
    outcome: Result<Outcome, String>,
}

/// Creates the user of a row. While the service is away or overloaded, tries again for as long as
/// `patience`, or until the import stops: the id makes that safe.
pub async fn settle(
    row: Row,
    client: &LocalClient,
    options: &CallOptions,
    patience: Duration,
    stop: &AbortHandle,
) -> SettledRow {
    let (user, outcome) = match row.user {
        Ok(user) => {
            let outcome = create(&user, client, options, patience, stop).await;
            (Some(user), Ok(outcome))
        }
        Err(malformed) => (None, Err(malformed)),
    };
    SettledRow {
        line: row.line,
        user,
        outcome,
    }
}

async fn create(
    user: &NewUser,
    client: &LocalClient,
    options: &CallOptions,
    patience: Duration,
    stop: &AbortHandle,
) -> Outcome {
    let end = Instant::now() + patience;
    let mut backoff = Backoff::new(RETRY_PAUSE.0, RETRY_PAUSE.1);
    let attempt = async || Outcome::from(client.create_user(user, options).await);
    let mut outcome = attempt().await;
    while let Outcome::Unavailable { .. } | Outcome::Unknown { .. } = outcome {
        let pause = backoff.next_pause();
        if stop.is_aborted() || Instant::now() + pause > end {
            break;
        }
        sleep(pause).await;
        outcome = after(outcome, attempt().await);
    }
    outcome
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

impl SettledRow {
    /// Whether it is known for good what became of the row: repeating it changes nothing.
    pub fn is_settled(&self) -> bool {
        self.status() <= 3
    }

    /// Whether its user is there now.
    pub fn is_stored(&self) -> bool {
        self.status() == 0
    }

    /// The exit status that stands for its outcome.
    pub fn status(&self) -> u8 {
        self.outcome.as_ref().map_or(3, Outcome::status)
    }

    /// The name under which the report counts it.
    pub fn kind(&self) -> &'static str {
        match &self.outcome {
            Ok(Outcome::Created { .. }) => "created",
            Ok(Outcome::Replayed { .. }) => "replayed",
            Ok(Outcome::EmailTaken) => "emailTaken",
            Ok(Outcome::IdConflict) => "idConflict",
            Ok(_) => "invalid",
            Err(_) => "malformed",
        }
    }

    /// Why its user is not there.
    pub fn reason(&self) -> String {
        match &self.outcome {
            Ok(outcome) => outcome.message(),
            Err(malformed) => malformed.clone(),
        }
    }
}
