//! Guesses what the next batch holds from what the last ones held, to try the fastest statement first.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::batch::Results;
use crate::outcome::InsertOutcome;

/// How long a conflict makes the next batches expect one. A plain insert that meets a conflict is wasted, so at most
/// one batch in this time, on each connection, is run twice.
const EXPECTED_FOR: Duration = Duration::from_secs(1);

/// What the users of a batch probably are, which picks the statement that is tried first. No outcome depends on
/// its being right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Nothing stands in their way.
    NewUsers,
    /// Something stands in the way of some.
    Conflicts,
    /// All are stored, as by an import that is started again.
    Replays,
}

impl Expected {
    /// After a batch in which something stood in the way of users.
    pub fn after(results: &Results) -> Self {
        let mut results = results.iter();
        if results.all(|result| *result == Ok(InsertOutcome::Replayed)) {
            Self::Replays
        } else {
            Self::Conflicts
        }
    }
}

/// What the process expects of its next batch.
#[derive(Default)]
pub struct Expectation(Mutex<Option<(Expected, Instant)>>);

impl Expectation {
    pub fn get(&self) -> Expected {
        match *self.0.lock() {
            Some((expected, since)) if since.elapsed() < EXPECTED_FOR => expected,
            _ => Expected::NewUsers,
        }
    }

    pub fn set(&self, expected: Expected) {
        *self.0.lock() = Some((expected, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_that_was_stored_before_has_the_next_one_expect_the_same() {
        use InsertOutcome::{Created, EmailTaken, Replayed};
        for (outcomes, expected) in [
            ([Replayed, Replayed], Expected::Replays),
            ([Replayed, EmailTaken], Expected::Conflicts),
            ([Created, Replayed], Expected::Conflicts),
            ([Created, EmailTaken], Expected::Conflicts),
        ] {
            let results = outcomes.map(Ok).to_vec();
            assert_eq!(Expected::after(&results), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn what_was_expected_is_forgotten() {
        let expectation = Expectation::default();
        assert_eq!(expectation.get(), Expected::NewUsers);

        expectation.set(Expected::Replays);
        assert_eq!(expectation.get(), Expected::Replays);

        let long_ago = Instant::now().checked_sub(EXPECTED_FOR).unwrap();
        *expectation.0.lock() = Some((Expected::Replays, long_ago));
        assert_eq!(expectation.get(), Expected::NewUsers);
    }
}
