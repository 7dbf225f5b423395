//! When a peer may send more, and when its large answers are built.

use std::pin::pin;
use std::time::Duration;

use capnp::ErrorKind;
use futures::AsyncWriteExt as _;
use tokio::time::sleep;

use super::*;
use crate::transport::writer::CoalescingWriter;

#[test]
fn peer_that_asks_for_more_than_its_share_is_read_again_as_soon_as_it_is_answered() {
    block_on(async {
        let peer = Peer::among_others();
        // One call is always read on.
        peer.asks(1);
        peer.guard.room().await.unwrap();
        peer.guard.on_question(2, 1, None).unwrap();
        let begin = Instant::now();
        let mut room = pin!(peer.guard.room());
        assert!(now(&mut room).is_none());

        let answer = async { peer.guard.on_answer(2, 0, false, Vec::new()) };
        let (room, ()) = tokio::join!(room, answer);

        room.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
    });
}

#[test]
fn peer_is_read_again_when_others_release_what_they_hold() {
    block_on(async {
        let peer = Peer::among_others();
        peer.asks(1);
        peer.asks(2);
        let begin = Instant::now();

        let release = async {
            sleep(STALL_TIMEOUT / 2 + SHARE_RECHECK / 2).await;
            peer.others_release(MEMORY_OF_PEERS);
        };
        let (room, ()) = tokio::join!(peer.guard.room(), release);

        room.unwrap();
        // At the next look.
        assert_eq!(begin.elapsed(), STALL_TIMEOUT / 2 + SHARE_RECHECK);
    });
}

#[test]
fn peer_that_stalls_for_too_long_is_not_told_that_its_calls_were_not_carried_out() {
    block_on(async {
        let peer = Peer::new();
        let calls = peer.memory.share() / CALL_COST + 1;
        for id in 0..u32::try_from(calls).unwrap() {
            peer.asks(id);
        }
        let begin = Instant::now();

        let error = peer.guard.room().await.unwrap_err();

        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        // The first look after the time.
        assert_eq!(begin.elapsed(), STALL_TIMEOUT + SHARE_RECHECK);
    });
}

#[test]
fn peer_that_does_not_read_stalls_itself_until_it_does() {
    block_on(async {
        let peer = Peer::new();
        let queue = &peer.guard.queue;
        let mut writer = CoalescingWriter(queue.clone());
        writer
            .write_all(&vec![0; SEND_QUEUE_LIMIT - 1])
            .await
            .unwrap();
        now(peer.guard.room()).unwrap().unwrap();
        now(peer.guard.caught_up()).unwrap();
        drop(now(peer.guard.large_answer()).unwrap().unwrap());
        let begin = Instant::now();

        writer.write_all(&[0]).await.unwrap();
        let mut room = pin!(peer.guard.room());
        let mut caught_up = pin!(peer.guard.caught_up());
        let mut large_answer = pin!(peer.guard.large_answer());
        assert!(now(&mut room).is_none());
        assert!(now(&mut caught_up).is_none());
        assert!(now(&mut large_answer).is_none());

        spawn_local(queue.clone().send(tokio::io::sink()));
        let (room, (), permit) = tokio::join!(room, caught_up, large_answer);
        room.unwrap();
        assert!(permit.is_some());
        assert_eq!(begin.elapsed(), Duration::ZERO);
    });
}

#[test]
fn only_a_few_large_answers_are_built_at_a_time() {
    block_on(async {
        let peer = Peer::new();
        let mut permits: Vec<_> = (0..LARGE_ANSWERS)
            .map(|_| now(peer.guard.large_answer()).unwrap().unwrap())
            .collect();
        let mut next = pin!(peer.guard.large_answer());
        assert!(now(&mut next).is_none());

        permits.pop();

        assert!(now(next).unwrap().is_some());
    });
}

#[test]
fn busy_peer_is_crowded_before_its_reading_pauses() {
    block_on(async {
        let peer = Peer::new();
        let begin = Instant::now();

        let mut calls = 0..2000;
        while !peer.guard.is_crowded() {
            peer.asks(calls.next().expect("so many calls make it crowded"));
        }
        for call in calls.take(50) {
            peer.asks(call);
            peer.guard.room().await.unwrap();
        }

        assert_eq!(begin.elapsed(), Duration::ZERO);
    });
}

#[test]
fn peer_is_crowded_when_it_holds_two_calls_more_than_nine_tenths_of_its_share() {
    block_on(async {
        let peer = Peer::among_others();
        // However little its share is, a call by itself is not refused.
        peer.asks(1);
        assert!(!peer.guard.is_crowded());

        peer.asks(2);
        peer.guard.on_undecoded(MIN_SHARE / 10 * 9).unwrap();
        assert!(!peer.guard.is_crowded());

        peer.guard.on_undecoded(1).unwrap();
        assert!(peer.guard.is_crowded());
    });
}

#[test]
fn others_get_their_turn_after_some_messages_of_one_peer() {
    block_on(async {
        let peer = Peer::new();
        for _ in 0..3 {
            let turn = spawn_local(async {});
            for _ in 1..MESSAGES_PER_TURN {
                peer.guard.room().await.unwrap();
            }
            assert!(!turn.is_finished());

            peer.guard.room().await.unwrap();
            assert!(turn.is_finished());
        }
    });
}
