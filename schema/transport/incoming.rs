//! What is coming in from a peer: the bytes of a message that is not complete, and the time it has left.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::options::{MESSAGE_TIMEOUT, SERVICE_READ_LIMIT};

/// Bytes of a message that tell how much it claims.
const HEADER: usize = 8;

/// What is coming in from a peer.
pub struct Incoming {
    /// Bytes that have arrived of a message that is not complete, and its first ones.
    partial: Cell<usize>,
    header: Cell<[u8; HEADER]>,
    /// Bytes that the message claims, which the library allocates as soon as it knows.
    claimed: Cell<usize>,
    /// Bytes that have arrived encrypted and are not decoded, and what their decoder needs.
    undecoded: Cell<usize>,
    /// When the message that the reader waits for must be complete; `None` between messages.
    due: Cell<Option<Instant>>,
    timer: RefCell<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// The first message is due as if it had begun.
    pub fn new() -> Self {
        let first_due = Instant::now() + MESSAGE_TIMEOUT;
        Self {
            partial: Cell::default(),
            header: Cell::default(),
            claimed: Cell::default(),
            undecoded: Cell::default(),
            due: Cell::new(Some(first_due)),
            timer: RefCell::new(Box::pin(sleep_until(first_due))),
        }
    }

    /// The bytes that what has begun takes.
    pub fn bytes(&self) -> usize {
        self.partial.get().max(self.claimed.get()) + self.undecoded.get()
    }

    /// When the message that has begun must be complete.
    pub fn due(&self) -> Option<Instant> {
        self.due.get()
    }

    /// Adds bytes of a message. Returns whether they tell how much it claims.
    pub fn add(&self, bytes: &[u8]) -> bool {
        let before = self.partial.replace(self.partial.get() + bytes.len());
        if before >= HEADER {
            return false;
        }
        let mut header = self.header.get();
        for (to, from) in header[before..].iter_mut().zip(bytes) {
            *to = *from;
        }
        self.header.set(header);
        let is_known = self.partial.get() >= HEADER;
        if is_known {
            self.claimed.set(claimed_bytes(header));
        }
        is_known
    }

    /// Adds encrypted bytes.
    pub fn add_undecoded(&self, bytes: usize) {
        self.undecoded.set(self.undecoded.get() + bytes);
    }

    /// The decoder has handed on what it had. What is left of its last read fits the buffer that it keeps.
    pub fn set_decoded(&self) {
        self.undecoded.set(0);
    }

    /// Ends the message, and returns its size.
    pub fn end_message(&self) -> usize {
        self.due.set(None);
        self.claimed.set(0);
        self.partial.take()
    }

    /// Completes when what has begun is overdue; `None`: nothing has begun.
    pub fn poll_overdue(&self, cx: &mut Context) -> Option<Poll<()>> {
        let has_begun = self.partial.get() > 0 || self.undecoded.get() > 0;
        if self.due.get().is_none() && has_begun {
            self.due.set(Some(Instant::now() + MESSAGE_TIMEOUT));
        }
        let due = self.due.get()?;
        let mut timer = self.timer.borrow_mut();
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        Some(timer.as_mut().poll(cx))
    }
}

/// The bytes that a message claims in its first ones (Cap'n Proto encoding, "Serialization over a stream"):
/// the number of segments less one, and the words of the first. Of several segments, as many as there may be.
fn claimed_bytes([a, b, c, d, words @ ..]: [u8; HEADER]) -> usize {
    let limit = SERVICE_READ_LIMIT * 8;
    match u32::from_le_bytes([a, b, c, d]) {
        0 => limit.min(8 * u32::from_le_bytes(words) as usize),
        _ => limit,
    }
}
