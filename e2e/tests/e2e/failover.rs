//! A primary and its standby: what was acknowledged outlives the primary when replication is synchronous.

use std::collections::HashSet;
use std::time::{Duration, Instant};
use std::{slice, thread};

use nix::sys::signal::Signal;
use postgres_server::Server;

use crate::promise::{assert_recovers, create};
use e2e::database::count;
use e2e::proxy::{Fault, Proxy};
use e2e::{Outcome, System, eventually, under_load};

/// A system on a primary with a standby, which streams through a proxy.
struct Replicated {
    system: System,
    primary: Server,
    standby: Server,
    replication: Proxy,
}

impl Replicated {
    fn start(synchronous: bool) -> Self {
        let primary = Server::temporary().unwrap();
        let url = primary.ensure_database("users").unwrap();
        let replication = Proxy::start(([127, 0, 0, 1], primary.port()).into());
        let standby = primary.standby(replication.addr.port()).unwrap();
        if synchronous {
            wait_for_standby(&primary);
        }

        // A DSN that finds whichever takes writes.
        let password = url.split([':', '@']).nth(2).unwrap();
        let ports = format!("{},{}", primary.port(), standby.port());
        let dsn = format!(
            "host=127.0.0.1,127.0.0.1 port={ports} user=postgres password={password} \
             dbname=users target_session_attrs=read-write"
        );
        Self {
            system: System::start_on(&dsn, &[], &[]),
            primary,
            standby,
            replication,
        }
    }
}

/// Makes the primary wait for its standby from now on.
fn wait_for_standby(primary: &Server) {
    let mut sql = primary.connect("postgres").unwrap();
    sql.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        .unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").unwrap();
    let synchronous = "pg_stat_replication WHERE sync_state = 'sync'";
    eventually("the standby is synchronous", || {
        count(&primary.url("postgres"), synchronous) == 1
    });
}

#[test]
fn row_that_the_synchronous_standby_lacks_is_no_reason_to_answer_201_or_409() {
    let replicated = Replicated::start(true);
    let Replicated { system, .. } = &replicated;
    assert_recovers(system, "calm");
    let [primary, standby] =
        [&replicated.primary, &replicated.standby].map(|server| server.url("users"));
    let waiting = "pg_stat_activity WHERE wait_event = 'SyncRep'";

    replicated.replication.set(Fault::BlackHole);
    thread::scope(|scope| {
        let first = scope.spawn(|| create(system, "held"));
        eventually("the commit waits for the standby", || {
            count(&primary, waiting) == 1
        });
        // The service loses the connection, connects again, and there is the row.
        let end = format!("SELECT pg_terminate_backend(pid) FROM {waiting}");
        system.sql().execute(&end, &[]).unwrap();
        assert_ne!(first.join().unwrap(), 201);
    });

    let held = "users WHERE name = 'held'";
    assert_eq!(count(&primary, held), 1);
    assert_eq!(count(&standby, held), 0);
    assert_ne!(create(system, "held"), 201);
    let taken = || system.http.create("held@example.com", "Another").status;
    assert_ne!(taken(), 409);

    replicated.replication.set(Fault::None);
    assert_recovers(system, "healed");
    assert_eq!(create(system, "held"), 201);
    assert_eq!(taken(), 409);
    assert_eq!(count(&standby, held), 1);
}

/// What a failover did.
struct Failover {
    /// Acknowledged users that the new primary does not have.
    lost: usize,
    /// How long no create succeeded.
    outage: Duration,
}

/// Creates users from several clients while the primary is cut off from its standby and crashes a moment
/// later, and the standby takes over.
fn fail_over(synchronous: bool) -> Failover {
    let replicated = Replicated::start(synchronous);
    let http = slice::from_ref(&replicated.system.http);
    let mut crash = Instant::now();
    let outcomes = under_load(http, 4, "failover", || {
        thread::sleep(Duration::from_millis(700));
        replicated.replication.set(Fault::BlackHole);
        thread::sleep(Duration::from_millis(200));
        replicated.primary.signal(Signal::SIGKILL).unwrap();
        crash = Instant::now();
        let mut standby = replicated.standby.connect("postgres").unwrap();
        standby.execute("SELECT pg_promote()", &[]).unwrap();
        thread::sleep(Duration::from_secs(4));
    });

    let in_the_promise = |outcome: &Outcome| [201, 503, 504].contains(&outcome.status);
    assert!(outcomes.iter().all(in_the_promise), "{outcomes:?}");
    let acknowledged: Vec<_> = outcomes.iter().filter(|o| o.status == 201).collect();
    let stored = emails(&replicated.standby);
    let lost = acknowledged.iter().filter(|o| !stored.contains(&o.email));
    let lost = lost.count();

    let after = acknowledged.iter().map(|outcome| outcome.at);
    let back = after.filter(|at| *at > crash + Duration::from_millis(50));
    let back = back.min().expect("creates succeed after the promotion");
    let (outage, acknowledged) = (back - crash, acknowledged.len());
    println!("acknowledged: {acknowledged}, lost: {lost}, back after {outage:?}");
    Failover { lost, outage }
}

fn emails(server: &Server) -> HashSet<String> {
    let mut sql = server.connect("users").unwrap();
    let rows = sql.query("SELECT email FROM users", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn promoted_synchronous_standby_has_everything_that_was_acknowledged() {
    let Failover { lost, outage } = fail_over(true);
    assert_eq!(lost, 0);
    assert!(outage < Duration::from_secs(4), "{outage:?}");
}

#[test]
fn promoted_asynchronous_standby_lacks_some_of_what_was_acknowledged() {
    let Failover { lost, outage } = fail_over(false);
    assert!(
        lost > 0,
        "no guarantee depends on this; the test before does on its being seen"
    );
    assert!(outage < Duration::from_secs(4), "{outage:?}");
}
