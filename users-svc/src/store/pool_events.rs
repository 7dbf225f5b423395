//! What operators see of the pool: gauges of its connections, and why it cannot connect.

use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use r2d2_postgres::r2d2::event::{
    AcquireEvent, CheckinEvent, CheckoutEvent, ReleaseEvent, TimeoutEvent,
};
use r2d2_postgres::r2d2::{HandleError, HandleEvent};

/// Counts the pool's connections (OpenTelemetry semantic conventions for database clients).
#[derive(Debug)]
pub struct PoolGauges {
    idle: Gauge,
    used: Gauge,
    timeouts: Counter,
}

impl PoolGauges {
    pub fn new() -> Self {
        Self {
            idle: gauge!("db_client_connection_count", "state" => "idle"),
            used: gauge!("db_client_connection_count", "state" => "used"),
            timeouts: counter!("db_client_connection_timeouts_total"),
        }
    }
}

impl HandleEvent for PoolGauges {
    fn handle_acquire(&self, _: AcquireEvent) {
        self.idle.increment(1.0);
    }

    fn handle_checkout(&self, _: CheckoutEvent) {
        self.idle.decrement(1.0);
        self.used.increment(1.0);
    }

    fn handle_checkin(&self, _: CheckinEvent) {
        self.used.decrement(1.0);
        self.idle.increment(1.0);
    }

    // It is given back before it is released.
    fn handle_release(&self, _: ReleaseEvent) {
        self.idle.decrement(1.0);
    }

    fn handle_timeout(&self, _: TimeoutEvent) {
        self.timeouts.increment(1);
    }
}

/// Logs failures to connect, but not each of thousands.
#[derive(Debug, Default)]
pub struct ConnectErrors(Mutex<Option<Instant>>);

impl HandleError<postgres::Error> for ConnectErrors {
    fn handle_error(&self, error: postgres::Error) {
        const QUIET: Duration = Duration::from_secs(10);
        let mut logged = self.0.lock();
        if logged.is_none_or(|at| at.elapsed() > QUIET) {
            *logged = Some(Instant::now());
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "cannot connect to PostgreSQL; trying on");
        }
    }
}
