//! What a guard knows of one question of its peer.

/// A bootstrap or a call that capnp-rpc holds.
pub struct Question {
    /// Bytes that it holds.
    pub cost: usize,
    /// Calls that wait for each other, up to and with this one.
    pub depth: u8,
    pub has_dependents: bool,
    pub is_answered: bool,
    pub is_finished: bool,
    /// The capabilities in its answer.
    pub exports: Vec<u32>,
}

impl Question {
    /// The part of its cost that only the peer can have released.
    pub fn kept(&self) -> usize {
        if self.is_answered || self.is_finished {
            self.cost
        } else {
            0
        }
    }
}
