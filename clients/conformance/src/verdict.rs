//! Judges what a client says, by what its attempts met.

use std::time::Duration;

use crate::{Attempt, NewUser, Outcome, Repeats, Trial};

/// What a client must do, and whether it did.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// As the rest of a sentence: "must …".
    pub must: String,
    /// Whether it did.
    pub is_right: bool,
    /// Why it must.
    pub why: Option<&'static str>,
}

impl Verdict {
    /// Judges an answer, such as `created`, or one word for each of the users.
    ///
    /// Without `repeats` the attempts that a client made decide what it must say; with it, the table does.
    pub fn of(
        trial: &Trial,
        users: &[NewUser],
        attempts: &[Attempt],
        said: Option<&str>,
        timeout: Duration,
        repeats: Option<Repeats>,
    ) -> Self {
        if attempts.is_empty() && !trial.attempts().is_empty() {
            let why = "A client that sends nothing proves nothing.";
            return Self::wrong("send the create to the service", why);
        }
        let sent = attempts.iter().filter_map(|attempt| attempt.users.as_ref());
        if sent.flatten().any(|user| !users.contains(user)) {
            let must = "send the id, the e-mail address and the name as they are, in every attempt";
            return Self::wrong(must, "Only with the same id is it safe to repeat a create.");
        }

        let allowed: Vec<Vec<Outcome>> = match repeats {
            Some(repeats) => {
                let outcomes = trial.outcomes(repeats).iter();
                outcomes.map(|outcome| vec![*outcome]).collect()
            }
            None => users
                .iter()
                .map(|user| allowed(&user.id, attempts, timeout))
                .collect(),
        };
        // The reason of a case is that of its whole script.
        let is_met = attempts.len() >= trial.attempts().len();
        Self::of_words(&allowed, said, is_met.then_some(trial.why))
    }

    fn of_words(allowed: &[Vec<Outcome>], said: Option<&str>, why: Option<&'static str>) -> Self {
        let alternatives = allowed.iter().map(|outcomes| {
            let words: Vec<&str> = outcomes.iter().map(|outcome| outcome.word()).collect();
            words.join("|")
        });
        let alternatives: Vec<String> = alternatives.collect();
        let said: Option<Vec<&str>> = said.map(|said| said.split_whitespace().collect());
        let is_right = said.is_some_and(|words| {
            let mut pairs = words.iter().zip(allowed);
            words.len() == allowed.len()
                && pairs.all(|(word, allowed)| allowed.iter().any(|right| right.word() == *word))
        });
        Self {
            must: format!("say {}", alternatives.join(" ")),
            is_right,
            why,
        }
    }

    fn wrong(must: &str, why: &'static str) -> Self {
        Self {
            must: must.to_owned(),
            is_right: false,
            why: Some(why),
        }
    }
}

/// The outcomes that a client may report of a user whose create met these attempts.
fn allowed(id: &str, attempts: &[Attempt], timeout: Duration) -> Vec<Outcome> {
    let answers = attempts.iter().filter_map(|attempt| attempt.answer_to(id));
    let mut allowed = vec![Outcome::after(answers)];
    // A client whose time ends while an answer is on its way has sent a create, and has no answer to it.
    let last_answer = attempts.last().and_then(|attempt| attempt.answered);
    let is_late = last_answer.is_some_and(|(_, after)| after > timeout * 3 / 4);
    if is_late && !allowed.contains(&Outcome::Unknown) {
        allowed.push(Outcome::Unknown);
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer::{self, Created, Overloaded, Replayed};

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// An attempt that was told this at once.
    fn told(users: &[NewUser], answers: &'static [Answer]) -> Attempt {
        told_after(Duration::ZERO, users, answers)
    }

    fn told_after(after: Duration, users: &[NewUser], answers: &'static [Answer]) -> Attempt {
        Attempt {
            users: Some(users.to_vec()),
            answered: Some((answers, after)),
        }
    }

    fn lost(users: &[NewUser]) -> Attempt {
        Attempt {
            users: Some(users.to_vec()),
            answered: None,
        }
    }

    fn trial(name: &str) -> Trial {
        let mut trials = Trial::all().into_iter();
        trials.find(|trial| trial.name() == name).unwrap()
    }

    fn is_right(users: &[NewUser], attempts: &[Attempt], said: &str) -> bool {
        let trial = trial("many-creates");
        Verdict::of(&trial, users, attempts, Some(said), TIMEOUT, None).is_right
    }

    #[test]
    fn refusal_that_comes_as_the_time_ends_may_be_unknown_too() {
        let users = trial("creates").new_users();
        let early = [told(&users, &[Overloaded])];
        let late = [told_after(TIMEOUT * 9 / 10, &users, &[Overloaded])];

        assert!(is_right(&users, &early, "unavailable"));
        assert!(!is_right(&users, &early, "unknown"));
        assert!(is_right(&users, &late, "unavailable"));
        assert!(is_right(&users, &late, "unknown"));
        assert!(!is_right(&users, &late, "created"));
    }

    #[test]
    fn attempt_with_another_id_is_wrong_whatever_the_client_says() {
        let users = trial("creates").new_users();
        let others = trial("creates").new_users();
        let attempts = [lost(&users), told(&others, &[Created])];

        assert!(!is_right(&users, &attempts, "created"));
        assert!(!is_right(&users, &attempts, "unknown"));
    }

    #[test]
    fn user_is_judged_by_the_attempts_that_it_was_part_of() {
        let users = trial("many-creates").new_users();
        let (first, second) = users.split_at(1);
        let attempts = [lost(first), told(second, &[Replayed])];

        assert!(is_right(&users, &attempts, "unknown replayed"));
        assert!(!is_right(&users, &attempts, "unknown created"));
        assert!(!is_right(&users, &attempts, "unknown"));
    }

    #[test]
    fn attempt_that_was_not_read_may_have_had_every_user() {
        let users = trial("many-creates").new_users();
        let not_read = Attempt {
            users: None,
            answered: None,
        };
        let attempts = [not_read, told(&users, &[Replayed])];

        assert!(is_right(&users, &attempts, "created created"));
        assert!(!is_right(&users, &attempts, "created replayed"));
    }

    #[test]
    fn rule_of_repetition_asks_for_the_outcome_of_the_table() {
        let trial = trial("overloaded-then-creates");
        let users = trial.new_users();
        let attempts = [told(&users, &[Overloaded])];
        let is_right = |repeats| {
            let said = Some("unavailable");
            Verdict::of(&trial, &users, &attempts, said, TIMEOUT, repeats).is_right
        };

        assert!(is_right(None));
        assert!(is_right(Some(Repeats::OnceIfDisconnected)));
        assert!(!is_right(Some(Repeats::Twice)));
    }
}
