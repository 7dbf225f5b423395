//! The promise, and what else holds in every state; and what must be possible.

use stateright::{Model as _, Property};

use crate::Promise;
use crate::state::{Request, RequestId, Response, Row, State, User};

/// All properties, as the checker takes them.
pub fn all() -> Vec<Property<Promise>> {
    [always(), sometimes()].concat()
}

/// What holds in every state.
fn always() -> Vec<Property<Promise>> {
    let holds = Property::always;
    vec![
        holds("201 means exactly one durable row", created_is_durable),
        holds("503 means that nothing was written", refused_wrote_nothing),
        holds("a key makes one row", key_makes_one_row),
        holds(
            "409 and 422 tell of a durable row of another user",
            conflict_is_durable,
        ),
        holds(
            "an earlier request created what a replay tells of",
            replay_wrote_nothing,
        ),
        holds(
            "when nothing breaks any more, every client learns its outcome",
            all_learn,
        ),
    ]
}

/// What can happen: otherwise, the model would promise less than it seems to.
fn sometimes() -> Vec<Property<Promise>> {
    let has = Property::sometimes;
    vec![
        has("201", |_, state| {
            is_told(state, Response::Created { is_replay: false })
        }),
        has("201 as a replay", |_, state| {
            is_told(state, Response::Created { is_replay: true })
        }),
        has("409", |_, state| is_told(state, Response::EmailTaken)),
        has("422", |_, state| is_told(state, Response::IdConflict)),
        has("503", |_, state| is_told(state, Response::NotExecuted)),
        has("504 though it was written", |_, state| {
            unknown(state).any(|id| wrote(state, id))
        }),
        has("504 before it is written", |_, state| {
            let mut late = state.calls.iter();
            late.any(|call| unknown(state).any(|id| id == call.request))
        }),
        has("two calls in a batch", |_, state| {
            state.batches.iter().any(|batch| batch.calls.len() > 1)
        }),
        has("a batch at each replica", |_, state| {
            state.batches.len() > 1
        }),
    ]
}

fn created_is_durable(_: &Promise, state: &State) -> bool {
    let is_created = |response| matches!(response, Response::Created { .. });
    let mut created = ended(state).filter(|(.., response)| is_created(*response));
    created.all(|(_, user, _)| durable(state).filter(|row| **row == user).count() == 1)
}

fn refused_wrote_nothing(_: &Promise, state: &State) -> bool {
    let not_executed = |response| response == Response::NotExecuted;
    let mut refused = ended(state).filter(|(.., response)| not_executed(*response));
    refused.all(|(id, ..)| !wrote(state, id))
}

fn key_makes_one_row(_: &Promise, state: &State) -> bool {
    let servers = [&state.database.first, &state.database.second];
    servers.iter().all(|rows| {
        let of_id = |id| rows.iter().filter(move |row| row.user.id == id);
        rows.iter().all(|row| of_id(row.user.id).count() == 1)
    })
}

fn conflict_is_durable(_: &Promise, state: &State) -> bool {
    ended(state).all(|(_, user, response)| match response {
        Response::EmailTaken => {
            durable(state).any(|row| row.email == user.email && row.id != user.id)
        }
        Response::IdConflict => durable(state).any(|row| row.id == user.id && *row != user),
        _ => true,
    })
}

fn replay_wrote_nothing(_: &Promise, state: &State) -> bool {
    let is_replay = |response| response == Response::Created { is_replay: true };
    let mut replays = ended(state).filter(|(.., response)| is_replay(*response));
    replays.all(|(id, ..)| !wrote(state, id))
}

/// Looks at the last state of each story. Every story has one, because each failure costs a fault, or follows from one.
fn all_learn(promise: &Promise, state: &State) -> bool {
    let mut actions = Vec::new();
    promise.actions(state, &mut actions);
    let mut clients = (0..).take(state.wants.len());
    !actions.is_empty() || clients.all(|client| has_learned(state, client))
}

/// Whether a client knows what became of its user.
pub fn has_learned(state: &State, client: u8) -> bool {
    state.responses(client).flatten().any(Response::settles)
}

/// The requests that have ended: what each was to create, and how it ended.
fn ended(state: &State) -> impl Iterator<Item = (RequestId, User, Response)> {
    state.requests.iter().filter_map(|(id, request)| {
        let user = state.wants[usize::from(id.client)];
        match request {
            Request::Open { .. } => None,
            Request::Ended(response) => Some((*id, user, *response)),
        }
    })
}

fn is_told(state: &State, wanted: Response) -> bool {
    ended(state).any(|(.., response)| response == wanted)
}

fn unknown(state: &State) -> impl Iterator<Item = RequestId> {
    let unknown = |(id, _, response)| (response == Response::OutcomeUnknown).then_some(id);
    ended(state).filter_map(unknown)
}

/// The users who outlive a failover.
fn durable(state: &State) -> impl Iterator<Item = &User> {
    state.database.second.iter().map(|row| &row.user)
}

/// Whether an attempt of this request has written a row, on any server.
fn wrote(state: &State, id: RequestId) -> bool {
    let is_its_row = |row: &Row| row.writer == id;
    let mut rows = state.database.first.union(&state.database.second);
    rows.any(is_its_row)
}
