//! A case as one call of a client meets it: `create`, or `create_many`.

use std::iter;

use uuid::Uuid;

use crate::service::EMAIL_DOMAIN;
use crate::{CASES_OF_EACH, GROUPS, NewUser, Outcome, Repeats, Step, name_of, words_of};

/// A script, and the call with which a client meets it.
pub struct Trial {
    /// What the service does.
    pub script: &'static [Step],
    /// Whether the call is `create_many`.
    pub is_of_many: bool,
    /// Why no other outcome is right.
    pub why: &'static str,
    /// The outcome of each user for a client that repeats twice, and for one that repeats once.
    persistent: Vec<Outcome>,
    plain: Vec<Outcome>,
}

impl Trial {
    /// All of them: every case by `create`, then every case by `create_many`.
    pub fn all() -> Vec<Self> {
        let create = by_call(false, 1);
        // Two users, so that a client which reports only one is noticed.
        let create_many = by_call(true, 2);
        let of_each = CASES_OF_EACH.iter().map(|case| Self {
            script: case.script,
            is_of_many: true,
            why: case.why,
            persistent: case.outcomes.to_vec(),
            plain: case.outcomes.to_vec(),
        });
        create.chain(create_many).chain(of_each).collect()
    }

    /// Its name, which no other has, and which stays as it is.
    pub fn name(&self) -> String {
        let call = if self.is_of_many { "many-" } else { "" };
        format!("{call}{}", name_of(self.script))
    }

    /// What the service does, in words whose subject it is.
    pub fn words(&self) -> String {
        words_of(self.script)
    }

    /// The steps that an attempt can meet, which is all but going away.
    pub fn attempts(&self) -> &'static [Step] {
        let script = self.script;
        script.strip_suffix(&[Step::GoesAway]).unwrap_or(script)
    }

    /// The outcome of each user for a client that repeats in this way.
    pub fn outcomes(&self, repeats: Repeats) -> &[Outcome] {
        match repeats {
            Repeats::Twice => &self.persistent,
            Repeats::OnceIfDisconnected => &self.plain,
        }
    }

    /// Users for the call, by which the service recognises it.
    pub fn new_users(&self) -> Vec<NewUser> {
        let user = || {
            let id = Uuid::new_v4().to_string();
            let email = format!("{id}{EMAIL_DOMAIN}");
            let name = "Jane".to_owned();
            NewUser { id, email, name }
        };
        iter::repeat_with(user)
            .take(self.persistent.len())
            .collect()
    }
}

/// All cases, met by a call that creates so many users.
fn by_call(is_of_many: bool, users: usize) -> impl Iterator<Item = Trial> {
    GROUPS.iter().flat_map(move |group| {
        group.cases.iter().map(move |case| Trial {
            script: case.script,
            is_of_many,
            why: group.why,
            persistent: vec![case.persistent; users],
            plain: vec![case.plain; users],
        })
    })
}
