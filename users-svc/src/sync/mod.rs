//! The lock, the clock and the threads of the group commit. Its schedule tests have others in their place.

#[cfg(test)]
pub mod explored;

#[cfg(test)]
pub use explored::{Mutex, interval, now, spawn_blocking, spawn_local, timeout_at};

#[cfg(not(test))]
pub use parking_lot::Mutex;
#[cfg(not(test))]
pub use tokio::task::{spawn_blocking, spawn_local};
#[cfg(not(test))]
pub use tokio::time::{interval, timeout_at};

/// The time.
#[cfg(not(test))]
pub fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
