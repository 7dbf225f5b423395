//! An update of all replicas, as an orchestrator does it, while the name server is behind.

use std::time::Duration;
use std::{slice, thread};

use nix::sys::signal::Signal;

use e2e::under_load;

use super::{CLIENTS, Cluster};

/// How long the name server is behind. `SHUTDOWN_DELAY_MS` must be longer.
const BEHIND: Duration = Duration::from_secs(6);
const SHUTDOWN_DELAY: (&str, &str) = ("SHUTDOWN_DELAY_MS", "12000");

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn update_of_all_replicas_fails_no_request_while_the_name_server_is_behind() {
    let mut cluster = Cluster::start_with(71..=72, &[SHUTDOWN_DELAY]);
    let mut old = Vec::new();
    let http = cluster.http.clone();
    let outcomes = under_load(slice::from_ref(&http), CLIENTS, "update", || {
        for number in 73..=74 {
            cluster.add(number);
            let (_, replica) = cluster.replicas.remove(0);
            replica.signal(Signal::SIGTERM);
            old.push(replica);
        }
        thread::sleep(BEHIND);
        assert!(cluster.created(73) + cluster.created(74) < 1.0);
        cluster.publish();
        for replica in &mut old {
            assert_eq!(replica.ended().code(), Some(0), "{}", replica.output());
        }
    });

    assert!(cluster.created(73) > 0.0 && cluster.created(74) > 0.0);
    cluster.assert_nothing_lost(&outcomes);
}
