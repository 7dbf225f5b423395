//! The users service: which calls go to the database together, and what it makes of a statement that fails.

use std::collections::BTreeSet;

use crate::flaw::Flaw;
use crate::gateway;
use crate::state::{Answer, Batch, Call, Node, State, Statement};

/// Users services behind the gateway.
pub const REPLICAS: usize = 2;

/// All ways to take some of the calls.
pub fn choices(calls: &BTreeSet<Call>) -> impl Iterator<Item = Vec<Call>> {
    (1_u32..1 << calls.len()).map(move |choice| {
        let chosen = (0..).zip(calls).filter(|(i, _)| choice & (1 << i) != 0);
        chosen.map(|(_, call)| *call).collect()
    })
}

/// Takes calls, and sends their statement to a server.
pub fn begin(state: &mut State, calls: Vec<Call>, node: Node) {
    for call in &calls {
        state.calls.remove(call);
    }
    state.batches.insert(Batch {
        calls,
        may_have_written: false,
        statement: Statement::Sent(node),
    });
}

/// Sends the statement of a batch once more.
pub fn repeat(state: &mut State, batch: Batch, node: Node) {
    state.batches.remove(&batch);
    state.batches.insert(Batch {
        statement: Statement::Sent(node),
        ..batch
    });
}

/// Has the database execute the statement.
pub fn execute(state: &mut State, batch: Batch, flaw: Option<Flaw>) {
    let Statement::Sent(node) = batch.statement else {
        return;
    };
    let (answers, waits) =
        (state.database).execute(node, &batch.calls, batch.may_have_written, flaw);
    if waits {
        state.batches.remove(&batch);
        state.batches.insert(Batch {
            statement: Statement::Executed(node, answers),
            ..batch
        });
    } else {
        end(state, &batch, &answers);
    }
}

/// Answers the calls, as the commit has been confirmed.
pub fn confirmed(state: &mut State, batch: &Batch) {
    state.database.replicate();
    end_as_executed(state, batch);
}

/// The wait for the synchronous standby is cancelled: the commit is there, and the standby may lack it.
pub fn wait_cancelled(state: &mut State, batch: Batch, flaw: Option<Flaw>) {
    if flaw == Some(Flaw::CancelledWaitIsSuccess) {
        end_as_executed(state, &batch);
    } else {
        outcome_lost(state, batch, flaw);
    }
}

/// The connection to the database ends.
pub fn connection_lost(state: &mut State, batch: Batch, flaw: Option<Flaw>) {
    orphan_statement(state, &batch);
    outcome_lost(state, batch, flaw);
}

/// Whether another batch has written one of its rows on `node` and holds its lock, until its commit is confirmed or
/// nobody waits for that any more.
pub fn is_locked_out(state: &State, batch: &Batch, node: Node) -> bool {
    let others = state.batches.iter();
    let written = others.filter_map(|other| match &other.statement {
        Statement::Executed(at, answers) if *at == node => Some(other.calls.iter().zip(answers)),
        _ => None,
    });
    let mut written = written
        .flatten()
        .filter(|(_, answer)| **answer == Answer::Created);
    written.any(|(Call { user: other, .. }, _)| {
        let mut users = batch.calls.iter().map(|call| call.user);
        users.any(|user| user.id == other.id || user.email == other.email)
    })
}

/// The database refuses a statement, or there is no connection for it. Before the insert, nothing is executed.
pub fn refused(state: &mut State, batch: Batch, flaw: Option<Flaw>) {
    let has_written = matches!(batch.statement, Statement::Executed(..));
    if has_written && flaw != Some(Flaw::InsertBeforeFailureIsForgotten) {
        return outcome_lost(state, batch, flaw);
    }
    let answer = if batch.may_have_written {
        Answer::OutcomeUnknown
    } else {
        Answer::NotExecuted
    };
    end(state, &batch, &vec![answer; batch.calls.len()]);
}

/// Refuses a call: a limit is reached, the process is about to stop, or the caller's time is over.
pub fn refuse_call(state: &mut State, call: Call, flaw: Option<Flaw>) {
    if flaw != Some(Flaw::RefusedCallIsExecuted) {
        state.calls.remove(&call);
    }
    answer(state, call, Answer::NotExecuted);
}

/// The process is killed.
pub fn killed(state: &mut State, batch: &Batch, flaw: Option<Flaw>) {
    orphan_statement(state, batch);
    state.batches.remove(batch);
    for call in &batch.calls {
        if state.is_awaited(call) {
            gateway::disconnected(state, call.request, flaw);
        }
    }
}

/// Nobody knows whether the batch was executed: it is repeated once, with the same ids, which finds out.
fn outcome_lost(state: &mut State, batch: Batch, flaw: Option<Flaw>) {
    let all = |answer| vec![answer; batch.calls.len()];
    if flaw == Some(Flaw::LostAnswerIsNotExecuted) {
        end(state, &batch, &all(Answer::NotExecuted));
    } else if batch.may_have_written {
        end(state, &batch, &all(Answer::OutcomeUnknown));
    } else {
        state.batches.remove(&batch);
        state.batches.insert(Batch {
            may_have_written: true,
            statement: Statement::ToSend,
            ..batch
        });
    }
}

/// Leaves a statement to itself that was sent and may be executed all the same.
fn orphan_statement(state: &mut State, batch: &Batch) {
    if let Statement::Sent(node) = batch.statement {
        let statement = (node, batch.calls.clone());
        state.database.orphans.insert(statement);
    }
}

fn end_as_executed(state: &mut State, batch: &Batch) {
    if let Statement::Executed(_, answers) = &batch.statement {
        end(state, batch, answers);
    }
}

fn end(state: &mut State, batch: &Batch, answers: &[Answer]) {
    state.batches.remove(batch);
    for (call, of_call) in batch.calls.iter().zip(answers) {
        answer(state, *call, *of_call);
    }
}

/// Sends an answer, unless nobody waits for it any more.
fn answer(state: &mut State, call: Call, answer: Answer) {
    if state.is_awaited(&call) {
        state.answers.insert((call, answer));
    }
}
