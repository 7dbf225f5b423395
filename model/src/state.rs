//! What the model knows at one moment: the requests, the messages on their way, the replicas and the database.

use std::collections::{BTreeMap, BTreeSet};

/// A user to create. The name is left out: it decides nothing that the e-mail address does not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct User {
    /// What the `Idempotency-Key` stands for.
    pub id: u8,
    /// Its e-mail address.
    pub email: char,
}

/// One `POST /users`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId {
    /// Who sends it.
    pub client: u8,
    /// How many that client has sent before.
    pub number: u8,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Response {
    /// 201.
    Created {
        /// Whether it has `Idempotency-Replayed: true`.
        is_replay: bool,
    },
    /// 409.
    EmailTaken,
    /// 422: the key created another user.
    IdConflict,
    /// 503.
    NotExecuted,
    /// 504.
    OutcomeUnknown,
    /// The connection ended without a response.
    Disconnected,
}

impl Response {
    /// Whether the client knows by it what became of its user.
    pub fn settles(self) -> bool {
        matches!(
            self,
            Self::Created { .. } | Self::EmailTaken | Self::IdConflict
        )
    }
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Request {
    /// It is in the gateway.
    Open {
        /// What it is to create.
        user: User,
        /// Counts from 0.
        attempt: u8,
        /// Whether an attempt before this one may have written.
        may_have_written: bool,
    },
    /// It has got its response.
    Ended(Response),
}

/// One attempt of a request, as the users service gets it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// Whose attempt it is.
    pub request: RequestId,
    /// Which one; counts from 0.
    pub attempt: u8,
    /// What it is to create.
    pub user: User,
}

/// What the users service says of a call.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Answer {
    /// This call stored the user.
    Created,
    /// An earlier call did.
    Replayed,
    /// Another user has the e-mail address.
    EmailTaken,
    /// Another user has the id.
    IdConflict,
    /// `overloaded`.
    NotExecuted,
    /// `failed`.
    OutcomeUnknown,
}

/// Calls that a replica of the users service sends to the database together. Each batch has a replica to itself.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Batch {
    /// In the order in which they are executed.
    pub calls: Vec<Call>,
    /// Whether this is the second attempt, after one that may have written.
    pub may_have_written: bool,
    /// Its statement.
    pub statement: Statement,
}

/// How far the statement of a batch has come.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Statement {
    /// It is to be sent once more.
    ToSend,
    /// It is on its way to a server.
    Sent(Node),
    /// Executed, and waiting for the synchronous standby. Then these are the answers.
    Executed(Node, Vec<Answer>),
}

/// A PostgreSQL server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Node {
    /// The primary, until its standby is promoted.
    First,
    /// Its synchronous standby, and then the primary.
    Second,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Row {
    /// The user that it keeps.
    pub user: User,
    /// The request that wrote it.
    pub writer: RequestId,
}

/// A primary and its synchronous standby.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Database {
    /// The rows of [`Node::First`].
    pub first: BTreeSet<Row>,
    /// The rows of [`Node::Second`], which are the durable ones: they outlive every failover.
    pub second: BTreeSet<Row>,
    /// Whether the standby has become the primary.
    pub is_second_promoted: bool,
    /// Statements whose connections are gone, and that may be executed all the same.
    pub orphans: BTreeSet<(Node, Vec<Call>)>,
}

/// Everything.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// What each client wants to create.
    pub wants: Vec<User>,
    /// All that were ever sent.
    pub requests: BTreeMap<RequestId, Request>,
    /// Calls on their way to a replica. Each arrives at any time, in any order, or never.
    pub calls: BTreeSet<Call>,
    /// Answers on their way to the gateway, of attempts that it still waits for.
    pub answers: BTreeSet<(Call, Answer)>,
    /// Those that run.
    pub batches: BTreeSet<Batch>,
    /// PostgreSQL.
    pub database: Database,
    /// What the retry budget still pays for.
    pub retries_left: u8,
    /// How many faults may still happen.
    pub faults_left: u8,
}

impl State {
    /// The responses that a client has got, and `None` for a request that is still open.
    pub fn responses(&self, client: u8) -> impl Iterator<Item = Option<Response>> {
        let of_client = move |(id, request): (&RequestId, &Request)| {
            (id.client == client).then_some(match request {
                Request::Open { .. } => None,
                Request::Ended(response) => Some(*response),
            })
        };
        self.requests.iter().filter_map(of_client)
    }

    /// Whether the gateway waits for the answer to this call.
    pub fn is_awaited(&self, call: &Call) -> bool {
        let request = self.requests.get(&call.request);
        matches!(request, Some(Request::Open { attempt, .. }) if *attempt == call.attempt)
    }

    /// The call of a request's current attempt, while it is on its way.
    pub fn call_on_its_way(&self, id: RequestId) -> Option<Call> {
        let mut calls = self.calls.iter().copied();
        calls.find(|call| call.request == id && self.is_awaited(call))
    }
}
