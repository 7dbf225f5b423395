//! What a peer pays for what it leaves open, and what gives it back.

use futures::AsyncWriteExt as _;

use super::*;
use crate::transport::options::TABLE_ENTRY_COST;
use crate::transport::table::FREE_ENTRIES;
use crate::transport::writer::CoalescingWriter;

#[test]
fn question_costs_a_call_and_its_message_until_it_is_answered_and_then_its_answer_until_its_finish()
{
    block_on(async {
        let peer = Peer::new();

        peer.guard.on_question(1, 320, None).unwrap();
        assert_eq!(peer.held().await, CALL_COST + 320);

        peer.guard.on_answer(1, 640, true, Vec::new());
        assert_eq!(peer.told(), KEPT_COST + 640);

        peer.guard.on_finish(1, true);
        assert_eq!(peer.told(), 0);
    });
}

#[test]
fn answered_peer_that_says_nothing_more_holds_the_tables_that_it_made_grow() {
    block_on(async {
        let peer = Peer::new();
        for id in 0..1000 {
            peer.guard.on_question(id, 192, None).unwrap();
        }
        assert_eq!(peer.held().await, 1000 * (CALL_COST + 192));

        for id in 0..1000 {
            peer.guard.on_answer(id, 192, false, Vec::new());
        }

        // The space for a few questions is any peer's.
        let bytes = (1000 - FREE_ENTRIES) * TABLE_ENTRY_COST;
        assert_eq!(peer.told(), bytes.next_multiple_of(SHARES));
        for id in 0..1000 {
            peer.asks(id);
        }
        assert_eq!(peer.held().await, 1000 * CALL_COST);
    });
}

#[test]
fn cancelled_question_costs_little_until_its_answer_which_needs_no_second_finish() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.on_question(1, 320, None).unwrap();

        peer.guard.on_finish(1, true);
        assert_eq!(peer.told(), KEPT_COST);

        peer.guard.on_answer(1, 640, true, Vec::new());
        assert_eq!(peer.told(), 0);
    });
}

#[test]
fn cancelled_question_whose_answer_another_call_waits_for_is_not_cancelled() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.asks_of(2, 1).unwrap();

        peer.guard.on_finish(1, true);
        assert_eq!(peer.told(), 2 * CALL_COST);

        peer.is_answered(1, &[]);
        assert_eq!(peer.told(), CALL_COST);
    });
}

#[test]
fn capability_costs_once_until_every_reference_to_it_is_released() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.asks(2);
        peer.is_answered(1, &[7, 8, 9]);
        peer.is_answered(2, &[7]);
        assert_eq!(peer.told(), 2 * KEPT_COST + 3 * EXPORT_COST);

        peer.guard.on_finish(1, false);
        peer.guard.on_finish(2, false);
        assert_eq!(peer.told(), 3 * EXPORT_COST);

        peer.guard.on_release(7, 1);
        assert_eq!(peer.told(), 3 * EXPORT_COST);
        peer.guard.on_release(8, 1);
        assert_eq!(peer.told(), 2 * EXPORT_COST);
        peer.guard.on_release(7, 1);
        assert_eq!(peer.told(), EXPORT_COST);
    });
}

#[test]
fn finish_may_release_one_reference_to_each_capability_of_the_answer() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.asks(2);
        peer.is_answered(1, &[7, 8]);
        peer.is_answered(2, &[7]);

        peer.guard.on_finish(1, true);

        assert_eq!(peer.told(), KEPT_COST + EXPORT_COST);
    });
}

#[test]
fn finish_or_release_of_what_the_peer_does_not_hold_changes_nothing() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.is_answered(1, &[7]);

        peer.guard.on_finish(2, true);
        peer.guard.on_release(8, 1);

        assert_eq!(peer.told(), KEPT_COST + EXPORT_COST);
    });
}

#[test]
fn id_of_an_open_question_is_refused_to_another_one() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.is_answered(1, &[]);

        peer.guard.on_question(1, 0, None).unwrap_err();
        assert_eq!(peer.held().await, KEPT_COST);

        peer.guard.on_finish(1, true);
        peer.guard.on_question(1, 0, None).unwrap();
        assert_eq!(peer.held().await, CALL_COST);
    });
}

#[test]
fn only_so_many_calls_may_wait_for_each_other() {
    block_on(async {
        let peer = Peer::new();
        let last = u32::from(MAX_PIPELINE_DEPTH);
        peer.asks(0);
        for id in 1..=last {
            peer.asks_of(id, id - 1).unwrap();
        }
        peer.asks_of(last + 1, last).unwrap_err();

        // A call on an answer that is there waits for nothing.
        peer.is_answered(last, &[7]);
        for id in last + 1..=2 * last + 1 {
            peer.asks_of(id, id - 1).unwrap();
        }
        peer.asks_of(2 * last + 2, 2 * last + 1).unwrap_err();
    });
}

#[test]
fn what_comes_in_what_is_open_and_what_is_unsent_cost_together_and_end_with_the_connection() {
    block_on(async {
        let peer = Peer::new();
        peer.asks(1);
        peer.asks(2);
        peer.is_answered(2, &[7]);
        peer.guard.on_received(&[0; 64]).unwrap();
        peer.guard.on_undecoded(128).unwrap();
        let mut writer = CoalescingWriter(peer.guard.queue.clone());
        writer.write_all(&[0; 256]).await.unwrap();
        let open = CALL_COST + KEPT_COST + EXPORT_COST;
        assert_eq!(peer.held().await, open + 64 + 128 + 256);

        let Peer { guard, memory } = peer;
        drop(guard);

        assert_eq!(memory.share(), PeerMemory::default().share());
    });
}
