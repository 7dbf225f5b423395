//! What operators see of the links to the users service and of the calls on them, in the metrics of the process.

use metrics::{Gauge, counter, describe_counter, describe_gauge, gauge};

/// Why a call is made again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryReason {
    Overloaded,
    Disconnected,
    Failed,
}

/// Why a call is given up to protect the service or this process.
#[derive(Clone, Copy)]
pub enum ShedReason {
    LinkDown,
    InFlight,
    RetryBudget,
}

impl RetryReason {
    const ALL: [Self; 3] = [Self::Overloaded, Self::Disconnected, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
        }
    }
}

impl ShedReason {
    const ALL: [Self; 3] = [Self::LinkDown, Self::InFlight, Self::RetryBudget];

    fn label(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::InFlight => "in_flight",
            Self::RetryBudget => "retry_budget",
        }
    }
}

/// Describes the metrics, and lets each begin at zero.
pub fn register() {
    describe_counter!(
        "rpc_client_retries_total",
        "Calls that were made again, by what the attempt before had met."
    );
    for reason in RetryReason::ALL {
        counter!("rpc_client_retries_total", "reason" => reason.label()).increment(0);
    }
    describe_counter!(
        "rpc_client_shed_total",
        "Calls that were given up to protect the service or this process."
    );
    for reason in ShedReason::ALL {
        counter!("rpc_client_shed_total", "reason" => reason.label()).increment(0);
    }

    describe_counter!(
        "rpc_client_connects_total",
        "Links to replicas that have come up."
    );
    counter!("rpc_client_connects_total").increment(0);
    describe_gauge!(
        "rpc_client_links",
        "Links that there should be: one from each thread to each replica."
    );
    describe_gauge!("rpc_client_links_up", "Links that are connected.");
    describe_gauge!("rpc_client_active_calls", "Calls that have no answer yet.");
    for gauge in [links(), links_up(), active_calls()] {
        gauge.increment(0.0);
    }
}

/// Counts a call that is made again.
pub fn count_retry(reason: RetryReason) {
    counter!("rpc_client_retries_total", "reason" => reason.label()).increment(1);
}

/// Counts a call that is given up.
pub fn count_shed(reason: ShedReason) {
    counter!("rpc_client_shed_total", "reason" => reason.label()).increment(1);
}

/// Counts a link that has come up.
pub fn count_connect() {
    counter!("rpc_client_connects_total").increment(1);
}

/// The links that there should be, of all threads.
pub fn links() -> Gauge {
    gauge!("rpc_client_links")
}

/// The links that are connected, of all threads.
pub fn links_up() -> Gauge {
    gauge!("rpc_client_links_up")
}

/// The calls that have no answer yet, of all threads.
pub fn active_calls() -> Gauge {
    gauge!("rpc_client_active_calls")
}

/// Something that a gauge counts for as long as it lives.
pub struct Counted(Gauge);

impl Counted {
    pub fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
