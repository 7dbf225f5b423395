//! A value that one side takes or the other gives up, whichever comes first.

use std::sync::Arc;

use crate::sync::Mutex;

/// The right to take a value, once.
pub struct Claim<T>(Arc<Mutex<Option<T>>>);

/// The owner's end, which gives the value up when it is dropped: nobody keeps what nobody waits for.
pub struct Unclaimed<T>(Claim<T>);

impl<T> Claim<T> {
    /// The claim to `value`, and its owner's end.
    pub fn new(value: T) -> (Self, Unclaimed<T>) {
        let value = Arc::new(Mutex::new(Some(value)));
        (Self(value.clone()), Unclaimed(Self(value)))
    }

    /// The value, unless it was taken or given up before.
    pub fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}

impl<T> Unclaimed<T> {
    /// Gives the value up; `None` when it was taken before.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Unclaimed<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
