//! The way back: from a batch to the threads of its callers, and there to each caller.

use tokio::sync::{mpsc, oneshot};

use crate::outcome::{BatchResults, CallFailure};

/// Who gets the answer to a call: a caller, by way of its thread.
pub struct Recipient<A> {
    pub thread: AnswerSender<A>,
    pub reply: Reply<A>,
}

pub type Reply<A> = oneshot::Sender<Result<A, CallFailure>>;
/// To the thread that [`forward`]s them.
pub type AnswerSender<A> = mpsc::UnboundedSender<Answers<A>>;
type Answers<A> = Vec<(Reply<A>, Result<A, CallFailure>)>;

impl<A> Recipient<A> {
    /// Whether nobody waits for the answer.
    pub fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Sends each thread the answers to its callers, all at once.
pub fn send<A>(recipients: Vec<Recipient<A>>, results: BatchResults<A>) {
    let mut by_thread: Vec<(AnswerSender<A>, Answers<A>)> = Vec::new();
    for (Recipient { thread, reply }, result) in recipients.into_iter().zip(results) {
        let mut known = by_thread.iter_mut();
        match known.find(|(known, _)| known.same_channel(&thread)) {
            Some((_, answers)) => answers.push((reply, result)),
            None => by_thread.push((thread, vec![(reply, result)])),
        }
    }
    for (thread, answers) in by_thread {
        // A thread that has ended has no callers left.
        let _ = thread.send(answers);
    }
}

/// Gives the answers that a thread gets to its callers: one wake-up of the thread for all the answers of a batch.
pub async fn forward<A>(mut answered: mpsc::UnboundedReceiver<Answers<A>>) {
    while let Some(answers) = answered.recv().await {
        for (reply, answer) in answers {
            // The caller may be gone.
            let _ = reply.send(answer);
        }
    }
}
