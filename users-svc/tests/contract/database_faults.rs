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
