//! A table of a connection: it grows with what a peer has open at once, and keeps its size until the connection ends.

use std::cell::Cell;

use super::options::{MIN_SHARE, TABLE_ENTRY_COST};

/// Entries whose space no peer is charged for: the space for them is a part of what any peer may hold.
pub const FREE_ENTRIES: usize = MIN_SHARE / TABLE_ENTRY_COST;

/// The entries of a table, now and at most so far.
#[derive(Default)]
pub struct Table {
    entries: Cell<usize>,
    most: Cell<usize>,
}

impl Table {
    pub fn add(&self, entries: usize) {
        self.entries.set(self.entries.get() + entries);
        self.most.set(self.most.get().max(self.entries.get()));
    }

    pub fn remove_one(&self) {
        self.entries.set(self.entries.get() - 1);
    }

    /// Bytes of the space that is kept for no entry. That of an entry is a part of what the entry costs.
    pub fn unused(&self) -> usize {
        let used = self.entries.get().max(FREE_ENTRIES);
        self.most.get().saturating_sub(used) * TABLE_ENTRY_COST
    }
}
