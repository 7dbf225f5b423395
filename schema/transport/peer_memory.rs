//! The memory that the peers of a process hold together, and how much of it one of them may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::options::{MEMORY_OF_PEERS, MIN_SHARE, SHARES};

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
}
