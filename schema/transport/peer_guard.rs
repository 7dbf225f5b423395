//! What a service does to peers that are too slow: a deadline for each message, and back-pressure.
//!
//! A client needs none of it, because it chooses the service that it connects to.

use std::task::{Context, Poll};
use std::{io, pin::Pin, rc::Rc};

use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::Framing;
use super::options::{MESSAGE_TIMEOUT, SEND_QUEUE_LIMIT};
use super::writer::SendQueue;

/// The guard of one connection.
pub struct PeerGuard {
    queue: Rc<SendQueue>,
    framing: Framing,
    /// When the message that has begun must be complete; `None` between messages.
    message_due: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl PeerGuard {
    pub fn new(queue: Rc<SendQueue>) -> Self {
        let first_due = Instant::now() + MESSAGE_TIMEOUT;
        Self {
            queue,
            framing: Framing::default(),
            message_due: Some(first_due),
            timer: Box::pin(sleep_until(first_due)),
        }
    }

    /// Completes when more may be read: a peer that sends calls and never reads the answers stalls
    /// itself, instead of growing our memory.
    pub fn poll_back_pressure(&self, cx: &Context) -> Poll<()> {
        self.queue.poll_below(SEND_QUEUE_LIMIT, cx)
    }

    /// Takes note of the bytes that a read brought.
    pub fn on_received(&mut self, bytes: &[u8]) {
        let completed = self.framing.advance(bytes);
        if !self.framing.is_inside_message() {
            self.message_due = None;
        } else if completed || self.message_due.is_none() {
            self.message_due = Some(Instant::now() + MESSAGE_TIMEOUT);
        }
    }

    /// Completes with an error when a message is overdue.
    pub fn poll_deadline(&mut self, cx: &mut Context) -> Poll<io::Error> {
        let Some(due) = self.message_due else {
            return Poll::Pending;
        };
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        self.timer
            .as_mut()
            .poll(cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }
}
