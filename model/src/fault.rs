//! What can break, at any moment.

use crate::flaw::Flaw;
use crate::service::{REPLICAS, choices};
use crate::state::{Batch, Call, Node, Request, RequestId, Response, State, Statement};
use crate::{gateway, service};

/// What can break. Each costs one of [`Promise::faults`](crate::Promise::faults).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// There is no link for a call, or no room on it.
    NotSent(Call),
    /// The link breaks under an attempt. What was sent may arrive all the same.
    LinkBroken(RequestId),
    /// The request's time is over.
    TimeOut(RequestId),
    /// The gateway is killed, or its client leaves.
    ClientDisconnected(RequestId),
    /// A replica refuses a call, or drops it as its time is over.
    CallRefused(Call),
    /// The replica that has this batch is killed.
    ReplicaKilled(Batch),
    /// Its connection to PostgreSQL breaks. What was sent may be executed all the same.
    ConnectionLost(Batch),
    /// PostgreSQL refuses a statement, or cancels it: the insert, or one after the insert has committed.
    StatementRefused(Batch),
    /// The wait for the synchronous standby is cancelled.
    WaitCancelled(Batch),
    /// The standby is promoted, and the first server does not notice.
    FailOver,
    /// A replica sends calls to the server that was replaced.
    BegunOnStalePrimary(Vec<Call>),
    /// A replica repeats a batch there.
    RepeatedOnStalePrimary(Batch),
}

/// What can break now.
pub fn possible(state: &State) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_open = |(id, request): (&RequestId, &Request)| {
        matches!(request, Request::Open { .. }).then_some(*id)
    };
    for id in state.requests.iter().filter_map(is_open) {
        faults.extend(state.call_on_its_way(id).map(Fault::NotSent));
        faults.extend([
            Fault::LinkBroken(id),
            Fault::TimeOut(id),
            Fault::ClientDisconnected(id),
        ]);
    }
    faults.extend(state.calls.iter().copied().map(Fault::CallRefused));

    let is_promoted = state.database.is_second_promoted;
    for batch in state.batches.iter().cloned() {
        let of_batch: &[fn(Batch) -> Fault] = match batch.statement {
            Statement::ToSend if is_promoted => {
                &[Fault::StatementRefused, Fault::RepeatedOnStalePrimary]
            }
            Statement::ToSend => &[Fault::StatementRefused],
            Statement::Sent(_) => &[Fault::StatementRefused, Fault::ConnectionLost],
            Statement::Executed(..) => &[
                Fault::WaitCancelled,
                Fault::ConnectionLost,
                Fault::StatementRefused,
            ],
        };
        faults.extend(of_batch.iter().map(|fault| fault(batch.clone())));
        faults.push(Fault::ReplicaKilled(batch));
    }

    if !is_promoted {
        faults.push(Fault::FailOver);
    } else if state.batches.len() < REPLICAS {
        faults.extend(choices(&state.calls).map(Fault::BegunOnStalePrimary));
    }
    faults
}

/// Breaks it.
pub fn apply(state: &mut State, fault: Fault, flaw: Option<Flaw>) {
    match fault {
        Fault::NotSent(call) => gateway::not_sent(state, call, flaw),
        Fault::LinkBroken(request) => gateway::disconnected(state, request, flaw),
        Fault::TimeOut(request) => gateway::timed_out(state, request, flaw),
        Fault::ClientDisconnected(request) => {
            gateway::end(state, request, Response::Disconnected);
        }
        Fault::CallRefused(call) => service::refuse_call(state, call, flaw),
        Fault::ReplicaKilled(batch) => service::killed(state, &batch, flaw),
        Fault::ConnectionLost(batch) => service::connection_lost(state, batch, flaw),
        Fault::StatementRefused(batch) => service::refused(state, batch, flaw),
        Fault::WaitCancelled(batch) => service::wait_cancelled(state, batch, flaw),
        Fault::FailOver => state.database.is_second_promoted = true,
        Fault::BegunOnStalePrimary(calls) => service::begin(state, calls, Node::First),
        Fault::RepeatedOnStalePrimary(batch) => service::repeat(state, batch, Node::First),
    }
}
