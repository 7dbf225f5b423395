//! What comes in: handshakes, bytes that are not decoded, and messages that are not complete.

use std::future::{pending, poll_fn, ready};
use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::transport::options::{HANDSHAKE_SHARES, MEMORY_FOR_HANDSHAKES};

/// The first bytes of a message whose only segment claims so many.
fn header(claimed: usize) -> [u8; 8] {
    let words = u32::try_from(claimed / 8).unwrap();
    (u64::from(words) << 32).to_le_bytes()
}

/// Waits a day in vain for the rest of a message, or for the next one.
async fn overdue(peer: &Peer) -> Option<io::ErrorKind> {
    let day = Duration::from_secs(24 * 60 * 60);
    let overdue = timeout(day, poll_fn(|cx| peer.guard.poll_overdue(cx)));
    overdue.await.ok().map(|error| error.kind())
}

#[test]
fn handshake_costs_what_it_needs_and_what_has_come_in_until_its_end() {
    block_on(async {
        let peer = Peer::new();

        let handshake = peer.guard.handshake(async {
            assert_eq!(peer.told(), HANDSHAKE_COST);
            peer.guard.on_undecoded(320)?;
            assert_eq!(peer.told(), HANDSHAKE_COST + 320);
            Ok("done")
        });

        assert_eq!(handshake.await.unwrap(), "done");
        assert_eq!(peer.told(), 0);
    });
}

#[test]
fn handshake_must_end_within_the_time_for_the_first_message() {
    block_on(async {
        let peer = Peer::new();
        let accepted = Instant::now();
        sleep(MESSAGE_TIMEOUT / 2).await;

        let error = peer.guard.handshake(pending::<io::Result<()>>()).await;

        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(accepted.elapsed(), MESSAGE_TIMEOUT);
    });
}

#[test]
fn handshake_is_not_begun_when_there_is_no_memory_for_it() {
    block_on(async {
        let peer = Peer::new();
        peer.others_take(MEMORY_OF_PEERS + MEMORY_FOR_HANDSHAKES);

        let begun = async { panic!("the handshake begins") };

        let refused: io::Result<()> = peer.guard.handshake(begun).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    });
}

#[test]
fn who_has_not_shown_who_it_is_may_hold_the_share_of_a_handshake() {
    block_on(async {
        let peer = Peer::new();
        let allowed = HANDSHAKE_COST + 4096;
        // Once it holds that, its share of what others leave is exactly that.
        let left = (HANDSHAKE_SHARES + 1) * allowed;
        peer.others_take(MEMORY_OF_PEERS + MEMORY_FOR_HANDSHAKES - left);

        let handshake = peer.guard.handshake(async {
            peer.guard.on_undecoded(4096)?;
            let refused = peer.guard.on_undecoded(1);
            Ok(refused.unwrap_err().kind())
        });

        assert_eq!(handshake.await.unwrap(), io::ErrorKind::OutOfMemory);
    });
}

#[test]
fn who_has_shown_who_it_is_may_hold_the_share_of_a_peer() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.handshake(ready(Ok(()))).await.unwrap();
        // Once it holds that, its share of what others leave is exactly that.
        let allowed = 4 * MIN_SHARE;
        peer.others_take(MEMORY_OF_PEERS - (SHARES + 1) * allowed);

        peer.guard.on_undecoded(allowed).unwrap();
        let refused = peer.guard.on_undecoded(1);

        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    });
}

#[test]
fn small_message_comes_in_however_little_memory_is_left() {
    block_on(async {
        let peer = Peer::among_others();
        peer.asks(1);
        peer.guard.on_received(&header(MIN_SHARE)).unwrap();
        peer.guard.incoming.end_message();

        let refused = peer.guard.on_received(&header(MIN_SHARE + 8));

        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    });
}

#[test]
fn message_that_claims_much_is_refused_before_it_has_come_when_there_is_no_room() {
    block_on(async {
        let memory = PeerMemory::default();
        let header = header(15_000 * 8);
        let mut guards = Vec::new();
        let mut accepted = 0;
        for _ in 0..5000 {
            let guard = PeerGuard::new(memory.clone());
            // However it is cut.
            let claimed = guard.on_received(&header[..3]);
            accepted += usize::from(
                claimed
                    .and_then(|()| guard.on_received(&header[3..]))
                    .is_ok(),
            );
            guards.push(guard);
        }
        assert!((1000..1400).contains(&accepted), "{accepted}");
    });
}

#[test]
fn message_is_refused_while_it_comes_in_when_others_need_its_memory() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.on_received(&header(2 * MIN_SHARE)).unwrap();
        assert!(now(overdue(&peer)).is_none());

        peer.others_take(MEMORY_OF_PEERS);

        let refused = now(overdue(&peer)).unwrap();
        assert_eq!(refused, Some(io::ErrorKind::OutOfMemory));
    });
}

#[test]
fn message_that_takes_too_long_is_overdue() {
    block_on(async {
        let peer = Peer::new();

        // The first one counts from the accept.
        let accepted = Instant::now();
        assert_eq!(overdue(&peer).await, Some(io::ErrorKind::TimedOut));
        assert_eq!(accepted.elapsed(), MESSAGE_TIMEOUT);

        peer.guard.incoming.end_message();
        let begun = Instant::now();
        peer.guard.on_received(&[0]).unwrap();
        assert_eq!(overdue(&peer).await, Some(io::ErrorKind::TimedOut));
        assert_eq!(begun.elapsed(), MESSAGE_TIMEOUT);
    });
}

#[test]
fn peer_may_be_idle_between_messages_and_not_in_what_is_not_decoded() {
    block_on(async {
        let peer = Peer::new();
        peer.guard.incoming.end_message();
        assert_eq!(overdue(&peer).await, None);

        let begun = Instant::now();
        peer.guard.on_undecoded(1).unwrap();

        assert_eq!(overdue(&peer).await, Some(io::ErrorKind::TimedOut));
        assert_eq!(begun.elapsed(), MESSAGE_TIMEOUT);
    });
}
