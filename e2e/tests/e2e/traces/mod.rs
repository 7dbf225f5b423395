//! What operators see in traces: a request's way through both services, out to a collector.

mod collector;
mod delivery;
mod spans;
mod variables;

use e2e::System;

/// Exports soon, so that tests need not wait.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "100");

/// A system whose services export to the collector at this URL.
fn start_exporting_to(endpoint: &str) -> System {
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), SOON];
    System::start_with(&settings, &settings)
}
