//! PostgreSQL: what a statement does to the rows of a server, and when its commit is confirmed.

use std::collections::BTreeSet;

use crate::flaw::Flaw;
use crate::state::{Answer, Call, Database, Node, Row, User};

impl Database {
    /// The server that takes writes.
    pub fn primary(&self) -> Node {
        if self.is_second_promoted {
            Node::Second
        } else {
            Node::First
        }
    }

    /// Inserts what nothing stands in the way of, and tells what became of each call. Also returns whether the
    /// answers must wait until the commits of those rows are confirmed.
    pub fn execute(
        &mut self,
        node: Node,
        calls: &[Call],
        may_have_written: bool,
        flaw: Option<Flaw>,
    ) -> (Vec<Answer>, bool) {
        let rows = match node {
            Node::First => &mut self.first,
            Node::Second => &mut self.second,
        };
        let mut answers = Vec::new();
        for call in calls {
            let conflict = conflict(rows, call.user, may_have_written, flaw);
            answers.push(conflict.unwrap_or_else(|| {
                rows.insert(Row {
                    user: call.user,
                    writer: call.request,
                });
                Answer::Created
            }));
        }

        let is_answered_at_once = |answer: &Answer| match answer {
            Answer::EmailTaken => flaw == Some(Flaw::EmailTakenWaitsForNobody),
            Answer::Replayed => flaw == Some(Flaw::ReplayWaitsForNobody),
            _ => false,
        };
        let waits = !answers.iter().all(is_answered_at_once);
        (answers, waits)
    }

    /// Whether commits on `node` are confirmed: the standby is there, or it is the primary now. One that was
    /// replaced waits for its standby for ever.
    pub fn confirms(&self, node: Node) -> bool {
        node == self.primary()
    }

    /// Brings everything that the primary has written to its standby. The WAL has an order, so a commit is
    /// confirmed only after everything that was written before it.
    pub fn replicate(&mut self) {
        if !self.is_second_promoted {
            self.second.extend(self.first.iter().copied());
        }
    }
}

/// What is answered because of the rows that stand in the way of a user, if any do.
fn conflict(
    rows: &BTreeSet<Row>,
    user: User,
    may_have_written: bool,
    flaw: Option<Flaw>,
) -> Option<Answer> {
    let same_id = rows.iter().find(|row| row.user.id == user.id);
    let same_id = same_id.filter(|_| flaw != Some(Flaw::NoPrimaryKey));
    let Some(row) = same_id else {
        let is_taken = rows.iter().any(|row| row.user.email == user.email);
        return is_taken.then_some(Answer::EmailTaken);
    };

    let is_replay = row.user == user || flaw == Some(Flaw::ReplayByIdAlone);
    let is_its_own = may_have_written && flaw != Some(Flaw::RepeatedBatchIsReplay);
    Some(match (is_replay, is_its_own) {
        (false, _) => Answer::IdConflict,
        (true, true) => Answer::Created,
        (true, false) => Answer::Replayed,
    })
}
