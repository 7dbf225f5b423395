//! Which of the calls that wait are in a batch.

use tokio::sync::{mpsc, oneshot};

use super::*;

/// A call that waits, and its caller's end of it.
fn job(query: u32, deadline: Instant) -> (Job<u32, u32>, impl Sized) {
    let (thread, answers) = mpsc::unbounded_channel();
    let (reply, answer) = oneshot::channel();
    let (query, unclaimed) = Claim::new(query);
    let job = Job {
        query,
        queued_at: Instant::now(),
        deadline,
        trace: TraceContext::fresh(),
        recipient: Recipient { thread, reply },
    };
    (job, (unclaimed, answer, answers))
}

#[test]
fn call_whose_time_is_over_is_in_no_batch_although_its_caller_has_yet_to_notice() {
    let mut queue = Queue::new(4, 1);
    let now = Instant::now();
    let (late, _caller) = job(0, now);
    queue.push(late);
    assert!(queue.start_batch(now).is_none());

    let (in_time, _in_time) = job(1, now + Duration::from_secs(60));
    let (late, _late) = job(2, now);
    queue.push(in_time);
    queue.push(late);
    let mut batch = queue.start_batch(now).unwrap();

    let taken = queue.take(&mut batch, now);

    assert_eq!(
        taken.iter().map(|(query, _)| *query).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn many_calls_that_wait_are_looked_at_when_they_have_doubled() {
    let mut queue = Queue::new(4, 1);
    let in_a_minute = Instant::now() + Duration::from_secs(60);
    let callers: Vec<_> = (0..3000)
        .map(|query| {
            let (job, caller) = job(query, in_a_minute);
            queue.push(job);
            caller
        })
        .collect();

    assert_eq!(queue.waiting(), callers.len());
    assert_eq!(queue.full_look_at, 4 * MIN_FULL_LOOK);
}
