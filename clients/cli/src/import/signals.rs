//! What interrupts an import: Ctrl-C or SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::Stop;
use crate::status;

/// The signals that would end the process at once, and stop the import in good order instead.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn catch() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one, as the reason to stop.
    pub async fn next(&mut self) -> Stop {
        let (why, status) = tokio::select! {
            _ = self.interrupt.recv() => ("interrupted", status::INTERRUPTED),
            _ = self.terminate.recv() => ("terminated", status::TERMINATED),
        };
        let why = why.to_owned();
        Stop { why, status }
    }
}
