//! What one peer has a service hold in memory, and when it may send more.
//!
//! capnp-rpc 0.27 keeps whatever a peer leaves open: questions without a `Finish` for their answer, and for
//! ever those whose `Finish` comes before their answer. Its tables never shrink. A client needs no guard,
//! because it chooses the service that it connects to.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, hash_map::Entry};
use std::task::{Context, Poll};
use std::{io, mem, pin::Pin, rc::Rc};

use capnp::Error;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::exports::Exports;
use super::incoming::Incoming;
use super::options::{
    CALL_COST, EXPORT_COST, HANDSHAKE_COST, KEPT_COST, LARGE_ANSWERS, MAX_PIPELINE_DEPTH,
    MESSAGE_TIMEOUT, MESSAGES_PER_TURN, MIN_SHARE, SEND_QUEUE_LIMIT, SHARE_RECHECK, STALL_TIMEOUT,
};
use super::peer_memory::PeerMemory;
use super::question::Question;
use super::table::Table;
use super::writer::SendQueue;

/// The guard of one connection. It counts, pauses reading, and says when the connection should drain.
pub struct PeerGuard {
    memory: PeerMemory,
    /// What `memory` knows of this peer.
    reported: Cell<usize>,
    /// By the peer's ids.
    questions: RefCell<HashMap<u32, Question>>,
    exports: RefCell<Exports>,
    question_table: Table,
    export_table: Table,
    /// Bytes that all questions and exports hold.
    open: Cell<usize>,
    /// Those of `open` that only the peer can have released. The tables come on top.
    kept: Cell<usize>,
    /// `kept` has exceeded its limit.
    exceeded: Notify,
    large_answers: Semaphore,
    /// Messages that have come.
    messages: Cell<u32>,
    pub(super) queue: Rc<SendQueue>,

    pub(super) incoming: Incoming,
    /// Whether the peer has shown who it is, where it must.
    is_admitted: Cell<bool>,
    /// Of an idle peer.
    recheck: RefCell<Pin<Box<Sleep>>>,
}

impl PeerGuard {
    /// The guard of a new connection of a process whose peers hold `memory`.
    pub fn new(memory: PeerMemory) -> Rc<Self> {
        Rc::new(Self {
            memory,
            reported: Cell::default(),
            questions: RefCell::default(),
            exports: RefCell::default(),
            question_table: Table::default(),
            export_table: Table::default(),
            open: Cell::default(),
            kept: Cell::default(),
            exceeded: Notify::new(),
            large_answers: Semaphore::new(LARGE_ANSWERS),
            messages: Cell::default(),
            queue: Rc::default(),
            incoming: Incoming::new(),
            is_admitted: Cell::new(true),
            recheck: RefCell::new(Box::pin(sleep_until(Instant::now()))),
        })
    }

    /// Completes when the peer leaves so much open that its connection should drain.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Whether the peer has so much in flight that its next call is to be refused. It comes before reading
    /// pauses, so that a busy caller is answered, and its health checks are, while the database hangs. However
    /// little memory there is, a call by itself is not refused.
    pub fn is_crowded(&self) -> bool {
        self.report() > self.memory.share() / 10 * 9 + 2 * CALL_COST
    }

    /// Completes when a large answer may be built, which must be done when the permit is dropped: a few at
    /// a time, and none while the peer does not read.
    pub async fn large_answer(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.large_answers.acquire().await.ok();
        self.caught_up().await;
        permit
    }

    /// Completes when the peer has read enough of its answers for more to come.
    pub async fn caught_up(&self) {
        while self.queue.len() >= SEND_QUEUE_LIMIT {
            self.queue.released.notified().await;
        }
    }

    /// Completes when the next message may be read. A peer that does not read its answers, or asks faster
    /// than it is answered, stalls itself. Fails when that does not help.
    pub(super) async fn room(&self) -> capnp::Result<()> {
        let messages = self.messages.get().wrapping_add(1);
        self.messages.set(messages);
        if messages.is_multiple_of(MESSAGES_PER_TURN) {
            yield_now().await;
        }
        if self.has_room() {
            return Ok(());
        }
        let due = Instant::now() + STALL_TIMEOUT;
        while !self.has_room() {
            if Instant::now() > due {
                // Not `overloaded`, which would promise that none of its calls was carried out.
                return Err(Error::disconnected("the peer holds too much memory".into()));
            }
            self.check_kept();
            // Nobody tells when other peers release what they hold.
            let _ = timeout(SHARE_RECHECK, self.queue.released.notified()).await;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.report() <= self.memory.share() && self.queue.len() < SEND_QUEUE_LIMIT
    }

    /// Tells the process what this peer holds, and returns it but for the tables: to wait, or to refuse calls, gives
    /// nothing of those back.
    fn report(&self) -> usize {
        let held = self.open.get() + self.incoming.bytes() + self.queue.len();
        let all = held + self.tables();
        self.memory.change(self.reported.replace(all), all);
        held
    }

    /// Bytes of tables that are kept for nothing until the connection ends.
    fn tables(&self) -> usize {
        self.question_table.unused() + self.export_table.unused()
    }

    /// Runs a handshake to its end, which must come within the time for the first message.
    pub async fn handshake<T>(
        &self,
        handshake: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let due = self.incoming.due().unwrap_or_else(Instant::now);
        self.is_admitted.set(false);
        self.on_undecoded(HANDSHAKE_COST)?;
        let done = timeout_at(due, handshake).await?;
        self.is_admitted.set(true);
        self.incoming.set_decoded();
        self.report();
        done
    }

    /// Takes note of bytes below the messages. Fails when they take more memory than there is for them.
    pub(super) fn on_undecoded(&self, bytes: usize) -> io::Result<()> {
        self.incoming.add_undecoded(bytes);
        if self.is_admitted.get() {
            return self.check_incoming();
        }
        // Who has not shown who it is leaves room for those who have.
        if self.report() > self.memory.share_of_handshake() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    /// Takes note of bytes of a message. Fails when it claims more memory than there is for it.
    pub(super) fn on_received(&self, bytes: &[u8]) -> io::Result<()> {
        if self.incoming.add(bytes) {
            self.check_incoming()?;
        }
        Ok(())
    }

    /// Fails when what comes in takes more memory than there is for it.
    fn check_incoming(&self) -> io::Result<()> {
        if self.incoming.bytes() > MIN_SHARE && self.report() > self.memory.share() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    /// Completes with an error when a message is overdue, or takes more memory than there is for it. Call
    /// it when there is nothing to read.
    pub(super) fn poll_overdue(&self, cx: &mut Context) -> Poll<io::Error> {
        if let Err(error) = self.check_incoming() {
            return Poll::Ready(error);
        }
        if let Some(overdue) = self.incoming.poll_overdue(cx) {
            return overdue.map(|()| io::ErrorKind::TimedOut.into());
        }
        self.poll_kept(cx);
        Poll::Pending
    }

    /// Looks from time to time at what an idle peer keeps: how much it may be depends on the others.
    fn poll_kept(&self, cx: &mut Context) {
        let mut recheck = self.recheck.borrow_mut();
        while self.reported.get() > MIN_SHARE && recheck.as_mut().poll(cx).is_ready() {
            self.report();
            self.check_kept();
            recheck.as_mut().reset(Instant::now() + MESSAGE_TIMEOUT);
        }
    }

    fn check_kept(&self) {
        if self.kept.get() + self.tables() > MIN_SHARE.max(self.memory.share() / 4 * 3) {
            self.exceeded.notify_one();
        }
    }

    /// Takes note of a question that came in a message of `size` bytes, and is to be asked of the answer to
    /// the question `target`.
    pub(super) fn on_question(
        &self,
        id: u32,
        size: usize,
        target: Option<u32>,
    ) -> capnp::Result<()> {
        let mut questions = self.questions.borrow_mut();
        let target = target.and_then(|target| questions.get_mut(&target));
        let target = target.filter(|target| !target.is_answered);
        let depth = target.map_or(0, |target| {
            target.has_dependents = true;
            target.depth + 1
        });
        if depth > MAX_PIPELINE_DEPTH {
            return Err(Error::failed("too many calls wait for each other".into()));
        }

        let question = Question {
            cost: CALL_COST + size,
            depth,
            has_dependents: false,
            is_answered: false,
            is_finished: false,
            exports: Vec::new(),
        };
        let Entry::Vacant(entry) = questions.entry(id) else {
            return Err(Error::failed("a question's id is already in use".into()));
        };
        self.open.set(self.open.get() + question.cost);
        self.question_table.add(1);
        entry.insert(question);
        Ok(())
    }

    /// Takes note of an answer of `size` bytes, after which a `Finish` may have to come, and of the capabilities
    /// in it.
    pub(super) fn on_answer(
        &self,
        id: u32,
        size: usize,
        is_finish_needed: bool,
        exports: Vec<u32>,
    ) {
        let added = exports
            .iter()
            .filter(|id| self.exports.borrow_mut().add(**id));
        self.hold_exports(added.count());
        self.change(id, |question| {
            question.is_answered = true;
            question.is_finished |= !is_finish_needed;
            question.cost = KEPT_COST + size;
            question.exports = exports;
        });
    }

    /// Takes note that the peer needs a question no more, nor, perhaps, the capabilities in its answer.
    pub(super) fn on_finish(&self, id: u32, releases_exports: bool) {
        let mut exports = Vec::new();
        self.change(id, |question| {
            question.is_finished = true;
            exports = mem::take(&mut question.exports);
            // It is cancelled, unless another call waits for its answer.
            if !question.has_dependents {
                question.cost = KEPT_COST;
            }
        });
        for export in exports.into_iter().filter(|_| releases_exports) {
            self.on_release(export, 1);
        }
    }

    /// Takes note that the peer needs `count` references to a capability no more.
    pub(super) fn on_release(&self, export: u32, count: u32) {
        if self.exports.borrow_mut().release(export, count) {
            self.export_table.remove_one();
            self.open.set(self.open.get() - EXPORT_COST);
            self.kept.set(self.kept.get() - EXPORT_COST);
            self.report();
        }
    }

    fn hold_exports(&self, count: usize) {
        self.export_table.add(count);
        self.open.set(self.open.get() + count * EXPORT_COST);
        self.kept.set(self.kept.get() + count * EXPORT_COST);
    }

    fn change(&self, id: u32, change: impl FnOnce(&mut Question)) {
        let mut questions = self.questions.borrow_mut();
        let Entry::Occupied(mut entry) = questions.entry(id) else {
            return;
        };
        let question = entry.get_mut();
        self.open.set(self.open.get() - question.cost);
        self.kept.set(self.kept.get() - question.kept());
        change(question);

        if question.is_answered && question.is_finished {
            entry.remove();
            self.question_table.remove_one();
        } else {
            self.open.set(self.open.get() + question.cost);
            self.kept.set(self.kept.get() + question.kept());
        }
        self.check_kept();
        // Now, because an honest peer that has been answered may say nothing more.
        self.report();
        self.queue.released.notify_waiters();
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        self.memory.change(self.reported.get(), 0);
    }
}

#[cfg(test)]
mod tests;
