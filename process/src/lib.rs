//! What both services are as processes: settings, logs, metrics, traces, signals, worker threads.

pub mod admin;
pub mod logging;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod settings;
pub mod shutdown;
pub mod trace;
pub mod workers;
