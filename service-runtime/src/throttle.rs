//! Log lines that could come thousands of times: the first of a kind, and then one a while, with a count.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets the first line of each kind through, and a further one only when some time has passed.
#[derive(Debug)]
pub struct Throttle<K> {
    pause: Duration,
    lines: Mutex<HashMap<K, Line>>,
}

#[derive(Debug)]
struct Line {
    /// When the next one may come.
    due: Instant,
    left_out: u64,
}

impl<K: Eq + Hash> Throttle<K> {
    /// At least `pause` is between two lines of one kind.
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            lines: Mutex::default(),
        }
    }

    /// Whether to log a line of this kind, with how many were left out since the last one. The kinds must be few.
    pub fn admit(&self, kind: K) -> Option<u64> {
        let now = Instant::now();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(kind).or_insert(Line {
            due: now,
            left_out: 0,
        });
        if now < line.due {
            line.left_out += 1;
            return None;
        }
        line.due = now + self.pause;
        Some(std::mem::take(&mut line.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_of_a_kind_passes_and_the_next_counts_those_between() {
        let throttle = Throttle::new(Duration::from_millis(50));
        assert_eq!(throttle.admit("a"), Some(0));
        assert_eq!((throttle.admit("a"), throttle.admit("a")), (None, None));
        assert_eq!(throttle.admit("b"), Some(0));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(throttle.admit("a"), Some(2));
    }
}
