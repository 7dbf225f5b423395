//! What callers get while the database is away or holds them up.

use std::time::{Duration, Instant};

use capnp::ErrorKind;
use futures::future::join_all;
use postgres_server::Server;

use crate::support::{Client, CreateAnswer, Service, fresh_id};

const OPTIONS: [&str; 4] = ["--migrate-on-start", "true", "--database-timeout-ms", "500"];

async fn create(users: &Client) -> CreateAnswer {
    users.create(&fresh_id(), "a@b.io", "A").await
}

#[test]
fn service_that_starts_without_its_database_is_overloaded_until_it_is_there() {
    let mut server = Server::temporary().unwrap();
    let url = server.fresh_database().unwrap();
    Service::migrate_if_pooled(&url);
    server.stop();
    let service = Service::start_on(&url, &OPTIONS);
    let answer = service.call(create);
    assert_eq!(answer, CreateAnswer::Failed(ErrorKind::Overloaded));
    assert!(!service.call(async |users| users.health().await));

    server.start_again().unwrap();

    service.wait_until_serving();
}

#[test]
fn service_whose_database_stops_is_overloaded_until_it_is_back() {
    let mut server = Server::temporary().unwrap();
    let url = server.fresh_database().unwrap();
    Service::migrate_if_pooled(&url);
    let service = Service::start_on(&url, &OPTIONS);
    service.wait_until_serving();

    server.stop();
    // The first to use a connection that broke meanwhile cannot know; the next can.
    assert!(matches!(service.call(create), CreateAnswer::Failed(_)));
    let answer = service.call(create);
    assert_eq!(answer, CreateAnswer::Failed(ErrorKind::Overloaded));
    assert!(!service.call(async |users| users.health().await));

    server.start_again().unwrap();
    service.wait_until_serving();
    assert!(matches!(service.call(create), CreateAnswer::New(_)));
}

#[test]
fn call_ends_at_the_deadline_of_its_caller() {
    let service = Service::start();
    let mut sql = service.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();
    service.call(async |users| {
        let start = Instant::now();
        let create = |i: usize| {
            let users = users.clone();
            async move {
                users
                    .create_within(&fresh_id(), &format!("u{i}@b.io"), "A", 200)
                    .await
            }
        };
        let answers = join_all((0..300).map(create)).await;
        assert!(start.elapsed() < Duration::from_secs(2));
        // Those that had not begun were not, and no one's outcome is made up.
        assert!(answers.contains(&CreateAnswer::Failed(ErrorKind::Overloaded)));
        for answer in answers {
            assert!(matches!(answer, CreateAnswer::Failed(_)));
        }
    });
    drop(transaction);
}

/// What the server, or a pooler before it, says of a statement that it may have carried out.
#[test]
fn error_that_leaves_the_outcome_open_is_not_taken_for_nothing_written() {
    for sqlstate in ["08006", "08P01", "40003"] {
        let service = Service::start();
        raise_on_insert(&service, sqlstate, "true");

        let answer = service.call(create);

        let unknown = CreateAnswer::Failed(ErrorKind::Failed);
        assert_eq!(answer, unknown, "{sqlstate}");
        let is_serving = service.call(async |users| users.health().await);
        assert!(!is_serving, "{sqlstate}");
    }
}

#[test]
fn create_is_attempted_again_when_the_database_undid_it_for_another_transaction() {
    let service = Service::start();
    let sequence = "CREATE SEQUENCE attempts";
    service.sql().batch_execute(sequence).unwrap();
    raise_on_insert(&service, "40001", "nextval('attempts') < 4");

    let answer = service.call(create);

    assert!(matches!(answer, CreateAnswer::New(_)), "{answer:?}");
}

#[test]
fn create_is_attempted_again_after_an_error_that_leaves_its_outcome_open() {
    let service = Service::start();
    let sequence = "CREATE SEQUENCE attempts";
    service.sql().batch_execute(sequence).unwrap();
    raise_on_insert(&service, "08006", "nextval('attempts') = 1");

    let answer = service.call(create);

    assert!(matches!(answer, CreateAnswer::New(_)), "{answer:?}");
    assert_eq!(service.rows(), 1);
}

/// Has inserts fail with an error, on a condition.
pub fn raise_on_insert(service: &Service, sqlstate: &str, condition: &str) {
    let trigger = format!(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
         IF {condition} THEN RAISE EXCEPTION 'as the test has it' USING ERRCODE = '{sqlstate}'; END IF; \
         RETURN new; END$$; \
         CREATE TRIGGER fail BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fail()"
    );
    service.sql().batch_execute(&trigger).unwrap();
}
