//! The attempts that reached the scripted service, and what it told them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Answer;

/// A user to create, as a call has it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// A UUID.
    pub id: String,
    /// The e-mail address.
    pub email: String,
    /// The name.
    pub name: String,
}

/// A call that creates, as the service met it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The users of the call; `None` if the service did not read it.
    pub users: Option<Vec<NewUser>>,
    /// What the users were told, in turn, and how long after the first attempt arrived. `None`: nothing.
    pub answered: Option<(&'static [Answer], Duration)>,
}

impl Attempt {
    /// What this attempt was told of a user; `None` if the user was not part of it.
    pub fn answer_to(&self, id: &str) -> Option<Option<Answer>> {
        let Some(users) = &self.users else {
            return Some(None);
        };
        let i = users.iter().position(|user| user.id == id)?;
        let answer = |(answers, _): (&[Answer], _)| answers[i % answers.len()];
        Some(self.answered.map(answer))
    }
}

/// All attempts that reached one service, in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct Attempts(Arc<Mutex<Vec<(Instant, Attempt)>>>);

impl Attempts {
    /// Notes that an attempt has arrived, and returns its number.
    pub(crate) fn arrived(&self, users: Option<Vec<NewUser>>) -> usize {
        let mut attempts = self.0.lock();
        let attempt = Attempt {
            users,
            answered: None,
        };
        attempts.push((Instant::now(), attempt));
        attempts.len() - 1
    }

    /// Notes what an attempt is told. Call it before the answer is on its way.
    pub(crate) fn answered(&self, number: usize, answers: &'static [Answer]) {
        let mut attempts = self.0.lock();
        let after = attempts[0].0.elapsed();
        attempts[number].1.answered = Some((answers, after));
    }

    /// What has happened so far.
    pub fn so_far(&self) -> Vec<Attempt> {
        let attempts = self.0.lock();
        attempts
            .iter()
            .map(|(_, attempt)| attempt.clone())
            .collect()
    }
}
