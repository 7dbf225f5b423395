//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until something holds, and fails when it takes too long.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
