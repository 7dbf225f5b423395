//! The bounds that a client keeps, each with its reason.

use std::time::Duration;

use super::network::MAX_LATENCY;
use crate::balancer::STAY_FOR;
use crate::dial::CONNECT_TIMEOUT;
use crate::link::{CHECK_TIMEOUT, SILENT_AFTER};
use crate::reconnect::{MAX_PAUSE, MIN_PAUSE};
use crate::resolver::REACTION_DELAY;

/// Until every replica is linked after the last fault: an attempt to connect that began just before its end takes as
/// long as it can, the pause after it is the longest, and then the replica accepts, and answers the first health
/// check. Everything else is faster: new addresses are found in 2.2 seconds, and a dead link is in two.
pub const RECOVERY: Duration = CONNECT_TIMEOUT
    .saturating_add(CHECK_TIMEOUT)
    .saturating_add(MAX_PAUSE)
    .saturating_add(REACTION_DELAY)
    .saturating_add(MAX_LATENCY.saturating_mul(4));

/// The pause between calls with which each goes to another replica.
pub const SPREAD_GAP: Duration = STAY_FOR.saturating_add(Duration::from_millis(5));
/// The calls of a client for each replica, with that pause, of which every replica gets one. They would be one if none
/// took longer than the pause.
pub const SPREAD_CALLS: usize = 2;

/// The pause between calls that come together, and how many of a client: all of them within the time for which calls
/// stay with a replica, and no more than stay there however busy it is.
pub const COMPANY_GAP: Duration = Duration::from_millis(1);
pub const COMPANY: u32 = 16;

/// Until a replica that falls silent gets no more calls, from the first call that it should have answered: an answer
/// on its way may still come.
pub const AVOIDED_AFTER: Duration = SILENT_AFTER.saturating_add(MAX_LATENCY);
/// How long a replica stays silent: until its link is lost, and some more.
pub const SILENCE: Duration = CHECK_TIMEOUT.saturating_add(SILENT_AFTER.saturating_mul(3));

/// Attempts to connect of one client to one replica in a second in which no link changes: the pause doubles, and half
/// of it may be left out.
pub fn quiet_dials() -> usize {
    let (mut at, mut pause) = (Duration::ZERO, MIN_PAUSE);
    let mut dials = 0;
    while at < Duration::from_secs(1) {
        dials += 1;
        at += pause / 2;
        pause = MAX_PAUSE.min(pause * 2);
    }
    dials
}

/// The same, whatever the other links do: the pause after a change, and nothing else, is between two.
pub fn most_dials() -> usize {
    usize::try_from(Duration::from_secs(1).as_millis() / REACTION_DELAY.as_millis()).unwrap()
}
