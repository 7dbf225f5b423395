//! Load is spread over the replicas there are, however they come and go.

use std::time::{Duration, Instant};
use std::{fs, thread};

use e2e::eventually;

use super::Cluster;

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn load_spreads_evenly() {
    let cluster = Cluster::start(11..=13);
    let counts = || [11, 12, 13].map(|number| cluster.created(number));
    let outcomes = cluster.under_load("even", || {
        // Of fewer, chance gives one replica more than a tenth too many now and then.
        eventually("there are 3,000", || counts().iter().sum::<f64>() >= 3000.0);
    });

    let counts = counts();
    let mean = counts.iter().sum::<f64>() / 3.0;
    let is_even = |count: &f64| (count / mean - 1.0).abs() < 0.1;
    assert!(counts.iter().all(is_even), "{counts:?}");
    cluster.assert_nothing_lost(&outcomes);
}

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn replica_that_appears_is_used_within_five_seconds() {
    let mut cluster = Cluster::start(41..=42);
    cluster.add(43);
    let outcomes = cluster.under_load("third", || {
        cluster.publish();
        let appeared = Instant::now();
        eventually("the third is in use", || cluster.created(43) > 0.0);
        let took = appeared.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    cluster.assert_nothing_lost(&outcomes);
}

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn replica_whose_address_is_gone_is_used_no_more_and_ends_without_loss() {
    let mut cluster = Cluster::start(51..=52);
    // As that of a pod that is about to end.
    let (number, mut first) = cluster.replicas.remove(0);
    let outcomes = cluster.under_load("gone", || {
        cluster.publish();
        thread::sleep(Duration::from_secs(4));
        let before = cluster.created(number);
        thread::sleep(Duration::from_secs(1));
        assert!(cluster.created(number) <= before);
        first.stop();
    });
    cluster.assert_nothing_lost(&outcomes);
}

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn name_server_with_no_answer_changes_nothing() {
    let cluster = Cluster::start(61..=62);
    fs::write(&cluster.hosts, "").unwrap();
    let outcomes = cluster.under_load("nameless", || thread::sleep(Duration::from_secs(4)));
    assert!(cluster.gateway.output().contains("cannot be looked up"));
    cluster.assert_nothing_lost(&outcomes);
}
