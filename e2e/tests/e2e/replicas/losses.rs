//! A replica that dies or hangs costs no request and no duplicate.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use e2e::Outcome;

use super::Cluster;

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn killed_replica_costs_no_request_and_no_duplicate() {
    let cluster = Cluster::start(21..=23);
    let outcomes = cluster.under_load("killed", || {
        thread::sleep(Duration::from_secs(1));
        cluster.replicas[1].1.signal(Signal::SIGKILL);
        thread::sleep(Duration::from_secs(2));
    });
    cluster.assert_nothing_lost(&outcomes);
}

/// Creates per second, from then on for so long.
fn rate(outcomes: &[Outcome], from: Instant, time: Duration) -> f64 {
    let is_in_time = |outcome: &&Outcome| outcome.at >= from && outcome.at < from + time;
    let count = outcomes.iter().filter(is_in_time).count();
    f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64()
}

#[test]
#[cfg_attr(
    not(has_nss_wrapper),
    ignore = "needs nss_wrapper; on Debian: apt-get install libnss-wrapper"
)]
fn frozen_replica_costs_no_request_and_little_of_the_rest() {
    let cluster = Cluster::start(31..=33);
    let begin = Instant::now();
    let mut stopped = begin;
    // When one stops, all calls may be on their way to it; they wait until it is noticed.
    let noticed = Duration::from_secs(2);
    let after = Duration::from_secs(4);
    let outcomes = cluster.under_load("frozen", || {
        thread::sleep(Duration::from_secs(2));
        stopped = Instant::now();
        cluster.replicas[1].1.signal(Signal::SIGSTOP);
        thread::sleep(noticed + after);
        cluster.replicas[1].1.signal(Signal::SIGCONT);
    });

    let before = rate(&outcomes, begin, stopped - begin);
    let during = rate(&outcomes, stopped + noticed, after);
    let longest = outcomes.iter().map(|outcome| outcome.took).max().unwrap();
    println!("{before:.0}/s before, {during:.0}/s while one is frozen, {longest:?} at most");
    assert!(during > before * 0.6, "{before} {during}");
    assert!(longest < noticed + Duration::from_secs(1), "{longest:?}");
    cluster.assert_nothing_lost(&outcomes);
}
