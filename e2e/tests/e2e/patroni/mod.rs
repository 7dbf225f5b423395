//! Failover and switchover under Patroni: what was acknowledged outlives the leader, and nothing is created twice.
//!
//! `PATRONI_ROUNDS=5 cargo test --release --test e2e -- --ignored --nocapture patroni` measures.

mod cluster;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use std::{env, slice, thread};

use nix::sys::signal::Signal;

use cluster::{Cluster, Timing};
use e2e::{Outcome, System, eventually_within, under_load};

const CLIENTS: usize = 4;
/// What the service may need after Patroni has another leader, on a busy machine.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

#[test]
#[cfg_attr(
    not(has_patroni),
    ignore = "needs Patroni and etcd; on Debian: apt-get install patroni etcd-server"
)]
fn patroni_replaces_a_killed_leader_and_nothing_acknowledged_is_lost() {
    let (mut cluster, system) = start(Timing::SHORT);
    kill_leader(&mut cluster, &system, "killed-");
    switch_over(&cluster, &system, "switched-");
}

#[test]
#[ignore = "runs for minutes: PATRONI_ROUNDS, 5 unless set"]
fn patroni_replaces_leaders_again_and_again() {
    let rounds = env::var("PATRONI_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    for timing in [Timing::SHORT, Timing::DEFAULT] {
        println!("{timing:?}");
        let (mut cluster, system) = start(timing);
        for round in 0..rounds {
            kill_leader(&mut cluster, &system, &format!("killed{round}-"));
            switch_over(&cluster, &system, &format!("switched{round}-"));
            freeze_leader(&cluster, &system, &format!("frozen{round}-"));
        }
    }
}

fn start(timing: Timing) -> (Cluster, System) {
    let cluster = Cluster::start(timing);
    let system = System::start_on(&cluster.url("users"), &[], &[]);
    (cluster, system)
}

/// Kills the leader under load, and starts it again as a replica.
fn kill_leader(cluster: &mut Cluster, system: &System, name: &str) {
    let old = cluster.leader().unwrap();
    disturb(system, name, || {
        cluster.kill_node(old);
        cluster.wait_until_replaced(old);
        wait_for_a_create(system, name);
        cluster.start_node(old);
        cluster.wait_until_whole();
    });
}

fn switch_over(cluster: &Cluster, system: &System, name: &str) {
    let old = cluster.leader().unwrap();
    disturb(system, name, || {
        cluster.switch_over();
        cluster.wait_until_replaced(old);
        wait_for_a_create(system, name);
        cluster.wait_until_whole();
    });
}

/// Freezes the leader until there is another one. When it goes on, it must not lead again. Patroni 3.0 with etcd
/// lets it: it writes the leader's key back without comparing it (`_update_leader`). Patroni 4.1 compares.
fn freeze_leader(cluster: &Cluster, system: &System, name: &str) {
    let old = cluster.leader().unwrap();
    disturb(system, name, || {
        cluster.signal_node(old, Signal::SIGSTOP);
        cluster.wait_until_replaced(old);
        wait_for_a_create(system, name);
        cluster.signal_node(old, Signal::SIGCONT);
        cluster.wait_until_whole();
    });
}

fn wait_for_a_create(system: &System, name: &str) {
    let email = format!("back-{name}@example.com");
    eventually_within(RECOVERY_LIMIT, "creates succeed again", || {
        system.http.create_with_key(&email, "A", name).status == 201
    });
}

/// Does something to the cluster under load, checks the promise, and prints what clients saw.
fn disturb(system: &System, name: &str, disturbance: impl FnOnce()) {
    let http = slice::from_ref(&system.http);
    let mut begin = Instant::now();
    let outcomes = under_load(http, CLIENTS, name, || {
        thread::sleep(Duration::from_secs(1));
        begin = Instant::now();
        disturbance();
        thread::sleep(Duration::from_secs(1));
    });

    let mut statuses = BTreeMap::<u16, usize>::new();
    for outcome in &outcomes {
        *statuses.entry(outcome.status).or_default() += 1;
    }
    println!("{name} no create for {:?}, {statuses:?}", outage(&outcomes));
    let in_the_promise = |status| [201, 503, 504].contains(status);
    assert!(statuses.keys().all(in_the_promise), "{statuses:?}");
    assert_promise(system, name, begin, &outcomes);
}

/// The longest time between two creates that succeeded.
fn outage(outcomes: &[Outcome]) -> Duration {
    let acknowledged = outcomes.iter().filter(|outcome| outcome.status == 201);
    let mut times: Vec<_> = acknowledged.map(|outcome| outcome.at).collect();
    times.sort_unstable();
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    pauses.max().unwrap()
}

/// Settles each 504, and holds all answers against the table: 201 is one row, 503 is none.
fn assert_promise(system: &System, name: &str, begin: Instant, outcomes: &[Outcome]) {
    let repeat = |o: &Outcome| system.http.create_with_key(&o.email, "A", &o.key);
    for unknown in outcomes.iter().filter(|outcome| outcome.status == 504) {
        assert_eq!(repeat(unknown).status, 201, "{unknown:?}");
    }
    // Those whose rows a standby may have lacked.
    let is_close = |at: Instant| {
        let (before, after) = (begin.duration_since(at), at.duration_since(begin));
        before.max(after) < Duration::from_millis(100)
    };
    let acknowledged = outcomes.iter().filter(|outcome| outcome.status == 201);
    for created in acknowledged.filter(|outcome| is_close(outcome.at)) {
        assert!(repeat(created).is_replay, "{created:?}");
    }

    let rows = system.sql().query("SELECT email FROM users", &[]).unwrap();
    let stored = rows.iter().map(|row| row.get::<_, String>(0));
    let stored: BTreeSet<_> = stored.filter(|email| email.starts_with(name)).collect();
    let written = outcomes.iter().filter(|outcome| outcome.status != 503);
    let written: BTreeSet<_> = written.map(|outcome| outcome.email.clone()).collect();
    let missing: Vec<_> = written.difference(&stored).collect();
    let unexpected: Vec<_> = stored.difference(&written).collect();
    assert!(missing.is_empty(), "{name}: lost {missing:?}");
    assert!(
        unexpected.is_empty(),
        "{name}: 503 and yet there: {unexpected:?}"
    );
}
