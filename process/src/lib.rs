//! What both services are as processes: settings, logs, signals, worker threads.

pub mod logging;
pub mod settings;
pub mod shutdown;
pub mod workers;
