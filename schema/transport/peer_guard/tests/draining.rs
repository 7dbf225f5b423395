//! When a peer keeps so much that its connection should end.

use std::future::poll_fn;

use super::*;

/// Unfinished answers that any peer may keep, whatever others hold.
const MAX_KEPT: u32 = 8;
const _: () = assert!(MAX_KEPT as usize * KEPT_COST == MIN_SHARE);

/// Has the peer keep `answers`, which cost nothing beside what any answer does.
fn keep(peer: &Peer, answers: std::ops::Range<u32>) {
    for id in answers {
        peer.asks(id);
        peer.is_answered(id, &[]);
    }
}

/// Says nothing until the connection should drain.
async fn idle(peer: &Peer) {
    let mut looks = 0;
    let overdue = poll_fn(|cx| {
        looks += 1;
        assert!(looks < 100, "an idle connection takes the processor");
        peer.guard.poll_overdue(cx)
    });
    tokio::select! {
        error = overdue => panic!("{error}"),
        () = peer.guard.exceeded() => {}
    }
}

#[test]
fn peer_that_keeps_more_than_three_quarters_of_its_share_is_drained() {
    block_on(async {
        let peer = Peer::new();
        let kept = 2 * MAX_KEPT;
        // Once it keeps that, that is three quarters of its share.
        let bytes = kept as usize * KEPT_COST;
        peer.others_take(MEMORY_OF_PEERS - bytes - SHARES * bytes / 3 * 4);

        keep(&peer, 0..kept);
        assert!(!peer.is_to_be_drained());

        keep(&peer, kept..kept + 1);
        assert!(peer.is_to_be_drained());
    });
}

#[test]
fn peer_that_keeps_what_any_may_hold_is_not_drained_when_others_hold_everything() {
    block_on(async {
        let peer = Peer::among_others();

        keep(&peer, 0..MAX_KEPT);
        assert!(!peer.is_to_be_drained());

        keep(&peer, MAX_KEPT..MAX_KEPT + 1);
        assert!(peer.is_to_be_drained());
    });
}

#[test]
fn peer_is_not_drained_for_its_calls_in_flight() {
    block_on(async {
        let peer = Peer::among_others();

        for id in 0..1000 {
            peer.asks(id);
        }
        keep(&peer, 1000..1000 + MAX_KEPT);

        assert!(!peer.is_to_be_drained());
    });
}

#[test]
fn peer_that_gives_back_what_it_keeps_is_never_drained() {
    block_on(async {
        let peer = Peer::among_others();

        for id in 0..1000 {
            peer.asks(id);
            peer.is_answered(id, &[id]);
            peer.guard.on_finish(id, true);
        }

        assert!(!peer.is_to_be_drained());
    });
}

/// A peer that has asked much at once, needs none of it any more, and leaves as little to others as any peer may hold.
fn peer_with_large_tables() -> Peer {
    let peer = Peer::new();
    peer.guard.incoming.end_message();
    for id in 0..100 {
        peer.asks(id);
    }
    for id in 0..100 {
        peer.guard.on_answer(id, 0, false, Vec::new());
    }
    assert!(!peer.is_to_be_drained());
    peer.others_take(MEMORY_OF_PEERS);
    peer
}

#[test]
fn peer_is_drained_when_others_need_what_its_tables_keep() {
    block_on(async {
        let peer = peer_with_large_tables();
        let begin = Instant::now();
        idle(&peer).await;
        assert!(begin.elapsed() <= MESSAGE_TIMEOUT);

        let busy = peer_with_large_tables();
        busy.asks(100);
        assert!(!busy.is_to_be_drained());
        busy.guard.on_answer(100, 0, false, Vec::new());
        assert!(busy.is_to_be_drained());
    });
}

#[test]
fn peer_is_read_and_served_until_it_is_drained_for_its_tables() {
    block_on(async {
        let peer = peer_with_large_tables();
        now(peer.guard.room()).unwrap().unwrap();
        peer.asks(100);
        assert!(!peer.guard.is_crowded());
    });
}

#[test]
fn table_of_capabilities_keeps_its_size_too() {
    block_on(async {
        let peer = Peer::among_others();
        peer.asks(0);
        peer.is_answered(0, &(0..100).collect::<Vec<_>>());
        assert!(peer.is_to_be_drained());

        peer.guard.on_finish(0, true);
        peer.asks(1);
        peer.is_answered(1, &[]);
        assert!(peer.is_to_be_drained());
    });
}

#[test]
fn peer_that_waits_to_be_read_is_drained_when_it_keeps_too_much() {
    block_on(async {
        let peer = Peer::new();
        keep(&peer, 0..2 * MAX_KEPT);
        peer.others_take(MEMORY_OF_PEERS);
        assert!(!peer.is_to_be_drained());

        tokio::select! {
            _ = peer.guard.room() => panic!("it is not to be read"),
            () = peer.guard.exceeded() => {}
        }
    });
}

#[test]
fn capabilities_count_as_kept_until_they_are_released() {
    block_on(async {
        let peer = Peer::among_others();
        peer.asks(0);
        peer.is_answered(0, &[7, 8]);
        peer.guard.on_finish(0, false);
        peer.guard.on_release(7, 1);
        // One is left, which costs as much as two answers.
        assert_eq!(EXPORT_COST, 2 * KEPT_COST);

        keep(&peer, 2..MAX_KEPT);
        assert!(!peer.is_to_be_drained());

        keep(&peer, MAX_KEPT..MAX_KEPT + 1);
        assert!(peer.is_to_be_drained());
    });
}

#[test]
fn idle_peer_is_drained_when_others_need_what_it_keeps() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.incoming.end_message();
        keep(&peer, 0..100);
        let begin = Instant::now();
        let alone = timeout(MESSAGE_TIMEOUT * 11 / 2, idle(&peer));
        alone.await.unwrap_err();

        peer.others_take(MEMORY_OF_PEERS);
        timeout(MESSAGE_TIMEOUT, idle(&peer)).await.unwrap();

        // At the next look. They are rare, because most connections are idle.
        assert_eq!(begin.elapsed(), 6 * MESSAGE_TIMEOUT);
    });
}

#[test]
fn idle_peer_that_holds_what_any_may_is_left_alone() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.incoming.end_message();
        keep(&peer, 0..u32::try_from(MIN_SHARE / KEPT_COST).unwrap());
        assert_eq!(peer.told(), MIN_SHARE);

        peer.others_take(MEMORY_OF_PEERS);

        timeout(3 * MESSAGE_TIMEOUT, idle(&peer)).await.unwrap_err();
    });
}
