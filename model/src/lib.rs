//! The promise as a state machine, so that a checker can look at every state that faults can lead to.
//!
//! Clients that repeat their requests with the same key; a gateway with two retries and a budget; two users services
//! that commit calls together and repeat a batch whose answer was lost; and PostgreSQL with a synchronous standby that
//! may be promoted. Messages take as long as they like, and arrive after their senders have given up. The rules are
//! those of the code, without time, threads and bytes: what a timer decides there, here happens at any moment.
//!
//! Left out are `createUsers`, users that a constraint or a trigger refuses, batches that are inserted in parts, and how
//! errors are told apart: each error here says truly what it means.

mod database;
mod fault;
mod flaw;
mod gateway;
mod properties;
mod service;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

pub use fault::Fault;
pub use flaw::Flaw;
use service::REPLICAS;
use state::{Answer, Batch, Call, Database, Node, State, Statement, User};

/// The system, and what may happen to it.
#[derive(Clone)]
pub struct Promise {
    /// What each client wants to create: each of these is a beginning.
    pub wants: Vec<Vec<User>>,
    /// How many faults happen at most.
    pub faults: u8,
    /// Retries that the budget pays for.
    pub retries: u8,
    /// A mistake that is to be found.
    pub flaw: Option<Flaw>,
}

/// A step that the system makes by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// A client sends its request, or repeats it.
    Post(u8),
    /// A replica takes calls, and sends their statement to the primary.
    Begin(Vec<Call>),
    /// A replica sends the statement of a batch once more.
    Repeat(Batch),
    /// The server executes it.
    Execute(Batch),
    /// The server confirms its commit.
    Confirm(Batch),
    /// The server confirms nothing any more, and the statement's time is over.
    GiveUp(Batch),
    /// A statement is executed whose connection is gone.
    ExecuteOrphan(Node, Vec<Call>),
    /// An answer arrives at the gateway.
    Deliver(Call, Answer),
    /// Something breaks.
    Break(Fault),
}

impl Model for Promise {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin = |wants: &Vec<User>| State {
            wants: wants.clone(),
            requests: BTreeMap::new(),
            calls: BTreeSet::new(),
            answers: BTreeSet::new(),
            batches: BTreeSet::new(),
            database: Database::default(),
            retries_left: self.retries,
            faults_left: self.faults,
        };
        self.wants.iter().map(begin).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for client in (0..).take(state.wants.len()) {
            let is_open = state.responses(client).any(|response| response.is_none());
            if !is_open && !properties::has_learned(state, client) {
                actions.push(Action::Post(client));
            }
        }
        if state.batches.len() < REPLICAS {
            actions.extend(service::choices(&state.calls).map(Action::Begin));
        }
        actions.extend(
            state
                .batches
                .iter()
                .filter_map(|batch| next_of(state, batch)),
        );
        let answers = state.answers.iter();
        actions.extend(answers.map(|(call, answer)| Action::Deliver(*call, *answer)));
        let orphans = state.database.orphans.iter().cloned();
        actions.extend(orphans.map(|(node, calls)| Action::ExecuteOrphan(node, calls)));

        if state.faults_left > 0 {
            let faults = fault::possible(state).into_iter();
            actions.extend(faults.map(Action::Break));
        }
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut state = last_state.clone();
        let flaw = self.flaw;
        match action {
            Action::Post(client) => gateway::post(&mut state, client),
            Action::Deliver(call, answer) => {
                state.answers.remove(&(call, answer));
                gateway::receive(&mut state, call, answer, flaw);
            }

            Action::Begin(calls) => {
                let primary = state.database.primary();
                service::begin(&mut state, calls, primary);
            }
            Action::Repeat(batch) => {
                let primary = state.database.primary();
                service::repeat(&mut state, batch, primary);
            }
            Action::Execute(batch) => service::execute(&mut state, batch, flaw),
            Action::Confirm(batch) => service::confirmed(&mut state, &batch),
            Action::GiveUp(batch) => service::connection_lost(&mut state, batch, flaw),

            Action::ExecuteOrphan(node, calls) => {
                state.database.execute(node, &calls, false, flaw);
                state.database.orphans.remove(&(node, calls));
            }
            Action::Break(fault) => {
                state.faults_left -= 1;
                fault::apply(&mut state, fault, flaw);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// What happens to a batch next; `None` while it waits for another one.
fn next_of(state: &State, batch: &Batch) -> Option<Action> {
    let next = match &batch.statement {
        Statement::ToSend => Action::Repeat,
        Statement::Sent(node) if service::is_locked_out(state, batch, *node) => return None,
        Statement::Sent(_) => Action::Execute,
        Statement::Executed(node, _) if state.database.confirms(*node) => Action::Confirm,
        Statement::Executed(..) => Action::GiveUp,
    };
    Some(next(batch.clone()))
}
