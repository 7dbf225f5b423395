//! What operators see of the pool: gauges of its connections, and why it cannot connect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;
use r2d2_postgres::r2d2::event::{
    AcquireEvent, CheckinEvent, CheckoutEvent, ReleaseEvent, TimeoutEvent,
};
use r2d2_postgres::r2d2::{HandleError, HandleEvent};
use service_runtime::throttle::Throttle;

/// Pause between two log lines while the pool cannot connect.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Counts the pool's connections (OpenTelemetry semantic conventions for database clients).
#[derive(Debug)]
pub struct PoolGauges {
    log: Arc<ConnectionLog>,
    idle: Gauge,
    used: Gauge,
    timeouts: Counter,
}

impl PoolGauges {
    /// Of a pool with at most `size` connections. It tells `log` of new ones.
    pub fn new(log: Arc<ConnectionLog>, size: u32) -> Self {
        describe_gauge!(
            "db_client_connections",
            "Connections to PostgreSQL that the pool has open."
        );
        describe_gauge!(
            "db_client_connection_max",
            "The most connections that the pool opens: DATABASE_POOL_SIZE."
        );
        describe_counter!(
            "db_client_connection_timeouts_total",
            "Batches that got no connection in time."
        );
        gauge!("db_client_connection_max").set(size);
        let connections =
            |state| gauge!("db_client_connections", "db_client_connection_state" => state);
        Self {
            log,
            idle: connections("idle"),
            used: connections("used"),
            timeouts: counter!("db_client_connection_timeouts_total"),
        }
    }
}

impl HandleEvent for PoolGauges {
    fn handle_acquire(&self, _: AcquireEvent) {
        self.log.connected();
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

/// Logs that the pool cannot connect, but not each of thousands of failures, and that it can again.
#[derive(Debug)]
pub struct ConnectionLog {
    /// Where it connects to, for people.
    server: String,
    lines: Throttle<()>,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u64,
    /// The log has a line on it.
    is_told: bool,
}

impl ConnectionLog {
    pub fn new(server: String) -> Arc<Self> {
        Arc::new(Self {
            server,
            lines: Throttle::new(LOG_PAUSE),
            outage: Mutex::default(),
        })
    }

    fn failed(&self, error: &postgres::Error) {
        let mut outage = self.outage.lock();
        let outage = outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            failures: 0,
            is_told: false,
        });
        outage.failures += 1;
        if self.lines.admit(()).is_some() {
            outage.is_told = true;
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(
                server = self.server,
                %error,
                cause,
                failures = outage.failures,
                "cannot connect to PostgreSQL; still trying"
            );
        }
    }

    fn connected(&self) {
        let outage = self.outage.lock().take();
        if let Some(outage) = outage.filter(|outage| outage.is_told) {
            let (failures, after) = (outage.failures, outage.since.elapsed());
            tracing::info!(
                server = self.server,
                failures,
                ?after,
                "connected to PostgreSQL again"
            );
        }
    }
}

/// The part of the log that hears of failures.
#[derive(Debug)]
pub struct ConnectErrors(pub Arc<ConnectionLog>);

impl HandleError<postgres::Error> for ConnectErrors {
    fn handle_error(&self, error: postgres::Error) {
        self.0.failed(&error);
    }
}
