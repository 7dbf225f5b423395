//! What callers get beyond the limits of the contract, and at once.

use std::time::{Duration, Instant};

use capnp::ErrorKind;
use futures::future::join_all;

use crate::database_faults::raise_on_insert;
use crate::support::{CreateAnswer, ManyError, Service};

/// Has every insert take a while.
fn slow_down(service: &Service) {
    let trigger = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
         CREATE TRIGGER wait AFTER INSERT ON users EXECUTE FUNCTION wait()";
    service.sql().batch_execute(trigger).unwrap();
}

#[test]
fn fifth_call_for_many_users_is_refused_at_once_and_writes_nothing() {
    let service = Service::start();
    slow_down(&service);
    service.call(async |users| {
        let begin = Instant::now();
        let create = |i: usize| {
            let users = users.clone();
            async move {
                let email = format!("u{i}@b.io");
                let answer = users.create_many(&[("", &email, "A")]).await;
                (answer, begin.elapsed())
            }
        };

        let answers = join_all((0..5).map(create)).await;

        let refusal = Err(ManyError::Failed(ErrorKind::Overloaded));
        let refused = answers.iter().filter(|(answer, _)| *answer == refusal);
        let times: Vec<Duration> = refused.map(|(_, time)| *time).collect();
        assert_eq!(times.len(), 1, "{answers:?}");
        assert!(times[0] < Duration::from_millis(700), "{times:?}");
    });
    assert_eq!(service.rows(), 4);
}

#[test]
fn health_is_told_soon_while_the_database_holds_everyone_up() {
    let service = Service::start();
    let mut sql = service.sql();
    let mut transaction = sql.transaction().unwrap();
    let lock = "LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    transaction.batch_execute(lock).unwrap();
    service.call(async |users| {
        for _ in 0..3 {
            let begin = Instant::now();
            users.health().await;
            assert!(begin.elapsed() < Duration::from_millis(900));
        }
    });
}

#[test]
fn service_whose_database_takes_no_writes_is_not_healthy() {
    let service = Service::start();
    let mut sql = service.sql();
    let read_only = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
         current_database()); END $$";
    sql.batch_execute(read_only).unwrap();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sql.batch_execute(others).unwrap();
    service.call(async |users| {
        let end = Instant::now() + Duration::from_secs(10);
        while users.health().await {
            assert!(Instant::now() < end, "it still says that it is healthy");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn service_whose_database_cannot_insert_is_not_healthy_until_it_can() {
    let service = Service::start();
    // `disk_full`.
    raise_on_insert(&service, "53100", "true");
    // Nothing but an insert tells.
    let answer = service.call(async |users| users.create("", "a@b.io", "A").await);
    assert_eq!(answer, CreateAnswer::Failed(ErrorKind::Overloaded));
    for _ in 0..3 {
        assert!(!service.call(async |users| users.health().await));
    }

    let mend = "DROP TRIGGER fail ON users";
    service.sql().batch_execute(mend).unwrap();

    assert!(service.call(async |users| users.health().await));
}
