//! What happens in a story, in order. The invariants are checked on this record alone.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use tokio::time::Instant;

/// A call, by its number in the story.
pub type CallId = usize;
/// A replica, by its number in the story.
pub type ReplicaId = usize;
/// A client, by its number in the story.
pub type ClientId = usize;

/// Something that happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Phase(Phase),
    /// A fault begins or ends.
    Fault(Fault),
    /// The names lead to these replicas now.
    AddressesChanged(Vec<ReplicaId>),
    /// A link has come up, was lost or no longer serves.
    LinkChanged,
    /// A client can send calls to these replicas, to each over as many links as it is named.
    Linked {
        client: ClientId,
        replicas: Vec<ReplicaId>,
    },
    /// A client dials a replica.
    Dialled(ReplicaId),
    CallBegun {
        call: CallId,
        client: ClientId,
        request: CallRequest,
        timeout: Duration,
    },
    /// A call's message leaves the client.
    Attempted {
        call: CallId,
        replica: ReplicaId,
    },
    /// A replica carries a create out.
    Executed {
        call: CallId,
        replica: ReplicaId,
    },
    /// A replica says that it has not carried a create out, and will not.
    Refused {
        call: CallId,
        replica: ReplicaId,
    },
    CallEnded {
        call: CallId,
        outcome: Outcome,
    },
}

/// The parts of a story.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Faults come and go.
    Faults,
    /// The faults have stopped.
    Calm,
    /// Every replica whose address is known must be linked by now.
    Recovered,
    /// Calls come together.
    Together,
    /// One replica stops answering, and all others are well.
    OneSilent(ReplicaId),
    /// It answers again, and no more calls are made.
    End,
}

/// A fault of one replica, of the network before it, or of the names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Its process has this behaviour.
    Behaviour(ReplicaId, Behaviour),
    /// Its process ends, and no other takes its place yet.
    Dies(ReplicaId),
    /// A process starts, if there is none.
    Starts(ReplicaId),
    /// Its process stops, as by SIGSTOP, or goes on.
    Frozen(ReplicaId, bool),
    /// Packets to it, and from it, are dropped.
    Cut(ReplicaId, [bool; 2]),
    /// Its connections break.
    Reset(ReplicaId),
    /// Its connections carry nothing any more, while new ones do.
    Forgotten(ReplicaId),
    /// Names cannot be looked up.
    LookupsFail(bool),
}

impl Fault {
    /// Whether it may cost a client the answer of a call.
    pub fn loses_answers(self) -> bool {
        match self {
            Self::Behaviour(..) | Self::Starts(_) | Self::LookupsFail(_) => false,
            Self::Frozen(_, begins) => begins,
            Self::Cut(_, cut) => cut != [false; 2],
            Self::Dies(_) | Self::Reset(_) | Self::Forgotten(_) => true,
        }
    }
}

/// How a replica treats calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    Serves,
    /// Calls wait for up to two seconds before or after they are carried out.
    Slow,
    Overloaded,
    /// Carries out one create of two, and fails all calls.
    Fails,
    /// Answers health checks and, for as long as it lasts, no call.
    Hangs,
    /// Says so when it is asked.
    NotServing,
    /// Has no method that creates.
    Old,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CallRequest {
    /// Creates the user with this number.
    Create(u32),
    Get(u32),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    Stored,
    Replayed,
    Read,
    NotExecuted,
    Unimplemented,
    Unknown,
    /// No service of a story answers so.
    Impossible,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallBegun {
                call,
                client,
                request,
                timeout,
            } => write!(
                f,
                "call {call} of client {client}: {request:?} within {timeout:?}"
            ),
            Self::Attempted { call, replica } => write!(f, "call {call} goes to replica {replica}"),
            Self::Executed { call, replica } => {
                write!(f, "call {call} is carried out by replica {replica}")
            }
            Self::Refused { call, replica } => {
                write!(f, "call {call} is refused by replica {replica}")
            }
            Self::CallEnded { call, outcome } => write!(f, "call {call}: {outcome:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// The events of a story, each with its time. Clones share them.
#[derive(Clone)]
pub struct Trace {
    begin: Instant,
    events: Rc<RefCell<Vec<(Duration, Event)>>>,
}

impl Trace {
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            events: Rc::default(),
        }
    }

    pub fn record(&self, event: Event) {
        self.events.borrow_mut().push((self.begin.elapsed(), event));
    }

    /// Ends the record.
    pub fn into_events(self) -> Vec<(Duration, Event)> {
        self.events.take()
    }
}

/// The events as text, one a line.
pub fn to_text(events: &[(Duration, Event)]) -> String {
    let lines = events
        .iter()
        .map(|(at, event)| format!("{:>10.4}  {event}\n", at.as_secs_f64()));
    lines.collect()
}
