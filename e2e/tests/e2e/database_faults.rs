//! A database in trouble: it crashes, restarts, hangs, is read-only or full, and every request ends in
//! the promise.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use postgres_server::Server;

use crate::promise::{assert_recovers, create, settle};
use e2e::database::count;
use e2e::{System, database, eventually};

/// A system on a server of its own, which has created users.
fn calm_system() -> (Server, System) {
    let server = Server::temporary().unwrap();
    let system = System::start_on(&server.fresh_database().unwrap(), &[], &[]);
    assert_recovers(&system, "calm");
    (server, system)
}

#[test]
fn crashed_database_keeps_the_promise_and_is_used_when_it_is_back() {
    let (mut server, system) = calm_system();
    server.signal(Signal::SIGKILL).unwrap();
    // Its children live on for a moment, and may still commit.
    create(&system, "down");
    server.start_again().unwrap();
    assert_recovers(&system, "crashed");
}

#[test]
fn stopped_database_never_yields_201_and_is_used_when_it_is_back() {
    let (mut server, system) = calm_system();
    server.stop();
    assert_ne!(create(&system, "stopped"), 201);
    server.start_again().unwrap();
    assert_recovers(&system, "restarted");
}

#[test]
fn terminated_connections_are_replaced_and_nobody_notices() {
    let system = System::start();
    assert_recovers(&system, "calm");
    for round in 0..10 {
        database::terminate_others(&mut system.sql()).unwrap();
        // The first uses a connection that is dead already.
        assert_eq!(create(&system, &format!("terminated{round}")), 201);
    }
}

#[test]
fn frozen_database_never_yields_201() {
    let (server, system) = calm_system();
    let names: Vec<String> = (0..8).map(|i| format!("frozen{i}")).collect();

    server.signal_all(Signal::SIGSTOP);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| create(&system, name)))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    server.signal_all(Signal::SIGCONT);

    assert!(!statuses.contains(&201), "{statuses:?}");
    for (name, status) in names.iter().zip(statuses) {
        settle(&system, name, status);
    }
    assert_recovers(&system, "thawed");
}

#[test]
fn read_only_database_is_503_until_it_takes_writes() {
    let (server, system) = calm_system();
    let set = |value: &str| {
        let mut sql = server.connect("postgres").unwrap();
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        sql.batch_execute(&set).unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").unwrap();
    };
    set("on");
    eventually("creates are refused", || {
        create(&system, &format!("probe{}", fastrand::u32(..))) == 503
    });
    set("off");
    assert_recovers(&system, "writable");
}

#[test]
fn full_disk_is_503_until_there_is_room() {
    let system = System::start();
    assert_recovers(&system, "calm");
    let mut sql = system.sql();
    sql.batch_execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    .unwrap();

    for i in 0..10 {
        assert_eq!(create(&system, &format!("full{i}")), 503);
    }
    sql.batch_execute("DROP TRIGGER full_disk ON users")
        .unwrap();
    assert_recovers(&system, "roomy");
}

#[test]
fn pool_makes_do_with_the_only_connection_there_is() {
    let server = Server::temporary().unwrap();
    let mut sql = server.connect("postgres").unwrap();
    sql.batch_execute("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 2")
        .unwrap();
    sql.batch_execute("CREATE DATABASE few OWNER few").unwrap();
    let url = format!("postgres://few:few@127.0.0.1:{}/few", server.port());
    // Others hold both of the connections that there are, and then one of them: the pool must not take
    // it before the schema is there.
    let first = database::connect(&url);
    let _second = database::connect(&url);
    let free = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        drop(first);
    });

    let system = System::start_on(&url, &[("DATABASE_POOL_SIZE", "4")], &[]);

    free.join().unwrap();
    for i in 0..10 {
        assert_eq!(create(&system, &format!("few{i}")), 201);
    }
}

#[test]
fn row_that_someone_holds_delays_nobody_else_for_long() {
    let system = System::start();
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    let insert = "INSERT INTO users VALUES (gen_random_uuid(), 'held@example.com', 'Someone')";
    transaction.execute(insert, &[]).unwrap();

    thread::scope(|scope| {
        let held = scope.spawn(|| create(&system, "held"));
        let waiting = "pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("it waits for the row", || {
            count(&system.database, waiting) == 1
        });
        for i in 0..10 {
            let start = Instant::now();
            assert_eq!(create(&system, &format!("free{i}")), 201);
            let took = start.elapsed();
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        assert_eq!(held.join().unwrap(), 503);
    });

    transaction.rollback().unwrap();
    assert_eq!(create(&system, "held"), 201);
}
