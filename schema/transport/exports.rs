//! The capabilities that a service has given to a peer, and keeps for as long as the peer does.

use std::collections::{HashMap, hash_map::Entry};

/// How often each capability has been given to a peer, by its id in the service's export table.
#[derive(Default)]
pub struct Exports(HashMap<u32, u32>);

impl Exports {
    /// Takes note that a capability was given once more; returns whether it is new.
    pub fn add(&mut self, id: u32) -> bool {
        let references = self.0.entry(id).or_default();
        *references += 1;
        *references == 1
    }

    /// Takes note of `count` references that the peer has released; returns whether they were the last.
    pub fn release(&mut self, id: u32, count: u32) -> bool {
        let Entry::Occupied(mut entry) = self.0.entry(id) else {
            return false;
        };
        *entry.get_mut() = entry.get().saturating_sub(count);
        let is_last = *entry.get() == 0;
        if is_last {
            entry.remove();
        }
        is_last
    }
}
