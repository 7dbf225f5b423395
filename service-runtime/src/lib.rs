//! What any service is as a process: settings, logs, metrics, traces, signals, worker threads. It knows
//! neither HTTP nor users.

mod admin;
mod dotenv;
pub mod health;
pub mod limits;
pub mod logging;
pub mod metrics;
mod places;
pub mod process;
pub mod settings;
pub mod signals;
pub mod throttle;
pub mod trace;
pub mod workers;
