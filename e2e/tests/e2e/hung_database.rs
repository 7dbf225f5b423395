//! A database that accepts and says nothing, as a whole or in one of its backends: it costs those calls their
//! time that it has taken, and nobody else anything.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::promise::{assert_recovers, create, settle};
use e2e::proxy::silent_server;
use e2e::{Program, System, binary, database, spawn_users};

/// A backend of PostgreSQL that does nothing until this is dropped.
struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGCONT).unwrap();
    }
}

/// Freezes the backend that the service has used last.
fn freeze_last_used(system: &System) -> Frozen {
    let last_used = "SELECT pid FROM pg_stat_activity \
                     WHERE application_name = 'users-svc' AND datname = current_database() \
                     ORDER BY state_change DESC LIMIT 1";
    let pid = system.sql().query_one(last_used, &[]).unwrap().get(0);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    Frozen(Pid::from_raw(pid))
}

/// Creates users at once, so that the service has opened its whole pool.
fn warm_up(system: &System) {
    thread::scope(|scope| {
        for i in 0..32 {
            scope.spawn(move || create(system, &format!("warm{i}")));
        }
    });
}

/// How long a create takes, which must succeed.
fn create_time(system: &System, name: &str) -> Duration {
    let begin = Instant::now();
    assert_eq!(create(system, name), 201, "{name}");
    begin.elapsed()
}

#[test]
fn frozen_backend_costs_its_own_batch_its_time_and_the_next_one_nothing() {
    assert_frozen_backend_costs_its_own_batch_only(&System::start());
}

/// Freezes as many backends as batches may run at once, one after the other.
pub fn assert_frozen_backend_costs_its_own_batch_only(system: &System) {
    warm_up(system);
    let mut frozen = Vec::new();
    for round in 0..2 {
        create_time(system, &format!("before{round}"));
        frozen.push(freeze_last_used(system));
        let hit = create_time(system, &format!("hit{round}"));
        assert!(hit < Duration::from_secs(4), "{hit:?}");
        for i in 0..5 {
            let next = create_time(system, &format!("next{round}-{i}"));
            assert!(next < Duration::from_millis(800), "{next:?}");
        }
    }
    drop(frozen);
    assert_recovers(system, "thawed");
}

#[test]
fn frozen_idle_backend_delays_a_create_by_its_trial() {
    let system = System::start();
    warm_up(&system);
    let _frozen = freeze_last_used(&system);
    // It is no longer trusted by now.
    thread::sleep(Duration::from_millis(1200));
    let took = create_time(&system, "tried");
    assert!(took < Duration::from_millis(1200), "{took:?}");
}

#[test]
fn second_host_is_reached_behind_one_that_says_nothing() {
    let database = database::fresh_database();
    let running = database::for_running_role(&database).unwrap();
    let behind = |url: &str| url.replacen('@', &format!("@{},", silent_server()), 1);
    let urls = [
        ("DATABASE_URL", &*behind(&running)),
        ("DATABASE_MIGRATE_URL", &*behind(&database)),
    ];
    let system = System::start_on(&database, &urls, &[]);
    // The first connections of the pool are opened by now.
    let statuses: Vec<u16> = (0..10).map(|i| create(&system, &format!("u{i}"))).collect();
    assert_eq!(statuses[5..], [201; 5], "{statuses:?}");
    for (i, status) in statuses.into_iter().enumerate() {
        settle(&system, &format!("u{i}"), status);
    }
}

/// How long the program takes to end after SIGTERM.
fn stop_time(program: &mut Program) -> Duration {
    let begin = Instant::now();
    program.stop();
    begin.elapsed()
}

#[test]
fn sigterm_ends_a_service_whose_database_says_nothing() {
    let database = format!("postgres://u:p@{}/d", silent_server());
    for migrates in ["true", "false"] {
        let more = [("MIGRATE_ON_START", migrates)];
        let mut users = spawn_users("127.0.0.1:0", &database, &more);
        users.wait_for("listening");
        let took = stop_time(&mut users);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn sigterm_ends_a_service_whose_calls_hang_within_the_drain_timeout() {
    let mut system = System::start_with(&[("DRAIN_TIMEOUT_MS", "1000")], &[]);
    warm_up(&system);
    let frozen = freeze_last_used(&system);
    thread::scope(|scope| {
        let hanging = scope.spawn(|| create(&system, "hanging"));
        thread::sleep(Duration::from_millis(200));
        system.users.signal(Signal::SIGTERM);
        hanging.join().unwrap();
    });
    let begin = Instant::now();
    assert_eq!(system.users.ended().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(frozen);
}

#[test]
fn migration_that_waits_for_a_silent_database_says_so_and_fails() {
    let database = format!("postgres://u:p@{}/d", silent_server());
    let settings = [("DATABASE_URL", &*database), ("DATABASE_TIMEOUT_MS", "300")];
    let mut migrate = Program::start_shell(
        &format!("exec {} migrate", binary("users-svc").display()),
        &settings,
    );
    assert_eq!(migrate.ended().code(), Some(1));
    migrate.wait_for("cannot connect to PostgreSQL");
}
