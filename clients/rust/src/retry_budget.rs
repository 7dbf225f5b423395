//! The retry budget: retries are a share of the calls, so that an outage is not answered with a storm.

use std::cell::Cell;

/// Retries that each call pays for.
pub const SHARE: f64 = 0.2;
/// Retries that may be saved up for a burst of failures, such as a restart of the service.
pub const BURST: f64 = 100.0;

/// The retries that are paid for.
pub struct RetryBudget(Cell<f64>);

impl RetryBudget {
    /// A budget with a burst saved up.
    pub fn new() -> Self {
        Self(Cell::new(BURST))
    }

    /// Pays the share of one call.
    pub fn deposit(&self) {
        self.0.set((self.0.get() + SHARE).min(BURST));
    }

    /// Takes one retry; returns whether there was one.
    pub fn withdraw(&self) -> bool {
        let is_covered = self.0.get() >= 1.0;
        self.0.set(self.0.get() - f64::from(is_covered));
        is_covered
    }
}
