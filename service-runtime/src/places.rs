//! The places for connections: how many there are, and how a new connection gets one when all are taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long one connection is given to make room before the next one is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// The places for a process's connections.
pub struct Places {
    free: Arc<Semaphore>,
    wanted: Arc<Notify>,
}

impl Places {
    pub fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            wanted: Arc::default(),
        }
    }

    /// Tells those that wait for it, one at a time and in the order in which they came, that a new connection
    /// needs a place. One may be told although none does: a place is taken before a connection comes.
    pub fn wanted(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    /// Waits for a place.
    pub async fn take(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        loop {
            if let Some(place) = self.try_take() {
                return Ok(place);
            }
            self.ask_for_one();
            let place = self.free.clone().acquire_owned();
            if let Ok(place) = timeout(ASK_EVERY, place).await {
                return place;
            }
        }
    }

    /// Asks an idle connection to end.
    pub fn ask_for_one(&self) {
        self.wanted.notify_one();
    }

    /// A place, if one is free now.
    pub fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }
}
