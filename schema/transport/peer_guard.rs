//! What a service does to peers that read or write too slowly.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    framing::Framing,
    options::{MESSAGE_TIMEOUT, WRITE_BUFFER_LIMIT},
    writer::Outbox,
};

/// What a service does to peers that read or write too slowly.
pub struct Guard {
    outbox: Rc<Outbox>,
    framing: Framing,
    /// Since when a message has been awaited; `None` between messages, where a peer may rest.
    waiting_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Guard {
    pub fn new(outbox: Rc<Outbox>) -> Self {
        let now = Instant::now();
        Self {
            outbox,
            framing: Framing::default(),
            // The first message is due at once.
            waiting_since: Some(now),
            timer: Box::pin(sleep_until(now + MESSAGE_TIMEOUT)),
        }
    }

    /// Whether to leave unread what the peer sends, until it has read more: a peer that sends calls and
    /// never reads the answers stalls itself, instead of growing our memory.
    pub fn is_full(&self, cx: &mut Context<'_>) -> bool {
        let full = self.outbox.unsent.borrow().len() >= WRITE_BUFFER_LIMIT;
        if full {
            self.outbox.reader.replace(Some(cx.waker().clone()));
        }
        full
    }

    /// Takes note of what was read.
    pub fn follow(&mut self, bytes: &[u8]) {
        let completed = self.framing.advance(bytes);
        if !self.framing.is_inside() {
            self.waiting_since = None;
        } else if completed || self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
    }

    /// Completes with an error when a message has been awaited for too long.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(since) = self.waiting_since else {
            return Poll::Pending;
        };
        let due = since + MESSAGE_TIMEOUT;
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        let late = self.timer.as_mut().poll(cx);
        late.map(|()| io::ErrorKind::TimedOut.into())
    }
}
