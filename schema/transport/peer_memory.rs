//! The memory that the peers of a process hold together, and how much of it one of them may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::options::{HANDSHAKE_SHARES, MEMORY_FOR_HANDSHAKES, MEMORY_OF_PEERS, MIN_SHARE, SHARES};

/// What all peers of a process hold, in bytes. Its clones are the same account.
#[derive(Clone, Default)]
pub struct PeerMemory(Arc<AtomicUsize>);

impl PeerMemory {
    /// What one peer may hold now: a fixed part of what is left. So however many peers hold all that they
    /// may, there is something left for the next one, and each gets less the more they are (Choudhury and
    /// Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
    pub(super) fn share(&self) -> usize {
        let left = MEMORY_OF_PEERS.saturating_sub(self.0.load(Relaxed));
        (left / SHARES).max(MIN_SHARE)
    }

    /// What a peer may hold that has not shown yet who it is.
    pub(super) fn share_of_handshake(&self) -> usize {
        let all = MEMORY_OF_PEERS + MEMORY_FOR_HANDSHAKES;
        all.saturating_sub(self.0.load(Relaxed)) / HANDSHAKE_SHARES
    }

    /// Takes note that a peer holds `now` instead of `before`.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now != before {
            self.0.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::options::{CALL_COST, HANDSHAKE_COST};

    #[test]
    fn peers_that_take_all_they_may_leave_a_share_for_the_next() {
        let memory = PeerMemory::default();
        let all = memory.share();
        for _ in 0..100 {
            memory.change(0, memory.share());
        }
        assert!(memory.0.load(Relaxed) < MEMORY_OF_PEERS);
        assert!((MIN_SHARE + 1..all).contains(&memory.share()));

        memory.change(all, 0);
        assert!(memory.share() > all / SHARES);
    }

    #[test]
    fn peers_that_take_all_they_may_leave_memory_for_handshakes() {
        let memory = PeerMemory::default();
        for _ in 0..1000 {
            memory.change(0, memory.share());
        }
        assert_eq!(memory.share(), MIN_SHARE);
        // The client's messages have up to 4 KiB.
        assert!(memory.share_of_handshake() > HANDSHAKE_COST + 4 * 1024);
    }

    #[test]
    fn ten_thousand_handshakes_leave_memory_for_each_other_and_for_peers() {
        let memory = PeerMemory::default();
        for _ in 0..10_000 {
            assert!(memory.share_of_handshake() > HANDSHAKE_COST + 4 * 1024);
            memory.change(0, HANDSHAKE_COST);
        }
        assert!(memory.share() > 100 * CALL_COST);
    }
}
