//! Log lines on the links to replicas: one for a process, although each of its threads has a link of its own.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What the log has said of a replica last.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    Connected,
    Lost,
    Unreachable,
}

/// The log of the links of a process. Clones share it.
#[derive(Clone, Default)]
pub struct ReplicaLog(Arc<Mutex<HashMap<SocketAddr, Said>>>);

impl ReplicaLog {
    pub fn connected(&self, addr: SocketAddr) {
        if self.changes(addr, Said::Connected) {
            tracing::info!(%addr, "connected to the users service");
        }
    }

    pub fn lost(&self, addr: SocketAddr, cause: &str) {
        if self.changes(addr, Said::Lost) {
            tracing::warn!(%addr, %cause, "lost a users service");
        }
    }

    pub fn unreachable(&self, addr: SocketAddr, error: &dyn Display) {
        if self.changes(addr, Said::Unreachable) {
            tracing::warn!(%addr, %error, "cannot reach a users service; still trying");
        }
    }

    /// Its address is gone.
    pub fn left(&self, addr: SocketAddr) {
        let mut replicas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if replicas.remove(&addr).is_some() {
            tracing::info!(%addr, "left a users service, as its address is gone");
        }
    }

    /// Whether this is worth a line. Only a replica that was connected can be lost: a thread that notices it late
    /// says nothing new.
    fn changes(&self, addr: SocketAddr, now: Said) -> bool {
        let mut replicas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = replicas.get(&addr).copied();
        let changes = match now {
            Said::Lost => before == Some(Said::Connected),
            _ => before != Some(now),
        };
        if changes {
            replicas.insert(addr, now);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_notice_the_same_add_no_line() {
        let (log, addr) = (ReplicaLog::default(), ([127, 0, 0, 1], 4001).into());
        for (now, is_said) in [
            (Said::Connected, true),
            (Said::Connected, false),
            (Said::Lost, true),
            (Said::Unreachable, true),
            (Said::Lost, false),
            (Said::Unreachable, false),
            (Said::Connected, true),
        ] {
            assert_eq!(log.changes(addr, now), is_said);
        }
    }
}
