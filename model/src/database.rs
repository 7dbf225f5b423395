//! PostgreSQL: what a statement does to the rows of a server, and when its commit is confirmed.

use crate::flaw::Flaw;
use crate::state::{Answer, Call, Database, Node, Row};

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
        let mut waits = false;
        let mut execute = |call: &Call| {
            let same_id = rows.iter().find(|row| row.user.id == call.user.id);
            let same_id = same_id.filter(|_| flaw != Some(Flaw::NoPrimaryKey));
            if let Some(row) = same_id {
                waits |= flaw != Some(Flaw::ReplayWaitsForNobody);
                return match row.user == call.user || flaw == Some(Flaw::ReplayByIdAlone) {
                    false => Answer::IdConflict,
                    true if may_have_written && flaw != Some(Flaw::RepeatedBatchIsReplay) => {
                        Answer::Created
                    }
                    true => Answer::Replayed,
                };
            }
            if rows.iter().any(|row| row.user.email == call.user.email) {
                waits |= flaw != Some(Flaw::EmailTakenWaitsForNobody);
                return Answer::EmailTaken;
            }
            rows.insert(Row {
                user: call.user,
                writer: call.request,
            });
            waits = true;
            Answer::Created
        };
        let answers = calls.iter().map(&mut execute).collect();
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
