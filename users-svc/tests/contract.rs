//! What `schema/users.capnp` promises, asked of a real service on a real PostgreSQL.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use capnp::ErrorKind;
use clap::Parser as _;
use futures::future::join_all;
use postgres_server::Server;
use support::{Client, Created, Service, User, fresh_database, fresh_id};
use users_svc::Settings;

#[test]
fn a_created_user_is_stored_and_can_be_read() {
    let service = Service::start();
    let id = fresh_id();
    let jane = User {
        id: id.clone(),
        email: "Jane@Example.com".into(),
        name: "Jane Döe".into(),
    };
    service.call(async |users| {
        let created = users
            .create(&id.to_uppercase(), " Jane@Example.com ", "\tJane Döe")
            .await;
        assert_eq!(created, Created::New(jane.clone()));
        assert_eq!(users.get(&id).await, Some(jane.clone()));
        assert_eq!(users.get(&id.to_uppercase()).await, Some(jane.clone()));
        assert_eq!(users.list(10, "").await, Ok((vec![jane], String::new())));
    });
}

#[test]
fn creating_again_is_a_replay_only_with_the_same_id_email_and_name() {
    let service = Service::start();
    let (id, other) = (fresh_id(), fresh_id());
    service.call(async |users| {
        let Created::New(user) = users.create(&id, "a@b.io", "A").await else {
            panic!()
        };
        assert_eq!(
            users.create(&id, " a@b.io", "A ").await,
            Created::Replay(user)
        );
        assert_eq!(users.create(&id, "a@b.io", "B").await, Created::IdConflict);
        assert_eq!(users.create(&id, "A@b.io", "A").await, Created::IdConflict);
        assert_eq!(users.create(&id, "x@b.io", "A").await, Created::IdConflict);
        assert_eq!(
            users.create(&other, "A@B.IO", "A").await,
            Created::EmailTaken
        );
    });
    assert_eq!(service.rows(), 1);
}

#[test]
fn an_empty_id_gets_a_fresh_one() {
    let service = Service::start();
    service.call(async |users| {
        let Created::New(user) = users.create("", "a@b.io", "A").await else {
            panic!()
        };
        assert_eq!(users.get(&user.id).await, Some(user));
        assert_eq!(users.create("", "a@b.io", "A").await, Created::EmailTaken);
    });
}

#[test]
fn all_faults_of_a_request_are_listed_and_nothing_is_stored() {
    let service = Service::start();
    service.call(async |users| {
        let expected = ["id", "email", "name"].map(str::to_owned).to_vec();
        assert_eq!(
            users.create("7", "jane", "").await,
            Created::Invalid(expected)
        );
        let expected = ["pageSize", "pageToken"].map(str::to_owned).to_vec();
        assert_eq!(users.list(0, "x").await, Err(expected.clone()));
        assert_eq!(users.list(101, "x").await, Err(expected));
        assert_eq!(users.get("7").await, None);
        assert_eq!(users.get(&fresh_id()).await, None);
    });
    assert_eq!(service.rows(), 0);
}

#[test]
fn text_that_is_not_utf8_is_a_fault_of_its_field() {
    let service = Service::start();
    service.call(async |users| {
        let mut request = users.0.create_user_request();
        request.get().set_email("a@b.io");
        request.get().set_name(capnp::text::Reader(b"\xff\xfe"));
        let response = request.send().promise.await.unwrap();
        let which = response.get().unwrap().which().unwrap();
        let users_rpc::users_capnp::create_user_response::Invalid(faults) = which else {
            panic!()
        };
        assert_eq!(faults.unwrap().get(0).get_field().unwrap(), "name");
    });
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let service = Service::start();
    service.call(async |users| {
        let create = |i: usize| {
            let users = users.clone();
            async move {
                users
                    .create(&fresh_id(), &format!("u{i}@b.io"), &"é".repeat(200))
                    .await
            }
        };
        let mut created: Vec<User> = join_all((0..230).map(create))
            .await
            .into_iter()
            .map(|created| {
                if let Created::New(user) = created {
                    user
                } else {
                    panic!()
                }
            })
            .collect();
        created.sort_by(|a, b| a.id.cmp(&b.id));
        for size in [1, 7, 100] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (page, next) = users.list(size, &token).await.unwrap();
                assert!(page.len() == size as usize || next.is_empty());
                seen.extend(page);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, created, "pages of {size}");
        }
    });
}

#[test]
fn of_many_that_want_one_email_at_once_one_gets_it() {
    let service = Service::start();
    service.call(async |users| {
        let create = |i: usize| {
            let (users, email) = (
                users.clone(),
                if i.is_multiple_of(2) {
                    "a@b.io"
                } else {
                    "A@B.io"
                },
            );
            async move { users.create(&fresh_id(), email, "A").await }
        };
        let answers = join_all((0..64).map(create)).await;
        assert_eq!(
            answers
                .iter()
                .filter(|a| matches!(a, Created::New(_)))
                .count(),
            1
        );
        assert_eq!(
            answers
                .iter()
                .filter(|a| **a == Created::EmailTaken)
                .count(),
            63
        );
    });
    assert_eq!(service.rows(), 1);
}

#[test]
fn of_many_that_share_one_id_one_is_created_and_the_rest_told_apart() {
    let service = Service::start();
    for round in 0..20 {
        let id = fresh_id();
        let answers = service.call(async |users| {
            let create = |i: usize| {
                let (users, id) = (users.clone(), id.clone());
                // Odd ones ask for another e-mail under the same id.
                async move {
                    users
                        .create(&id, &format!("{}-{round}@b.io", i % 2), "A")
                        .await
                }
            };
            join_all((0..32).map(create)).await
        });
        let new = answers
            .iter()
            .filter(|a| matches!(a, Created::New(_)))
            .count();
        let replays = answers
            .iter()
            .filter(|a| matches!(a, Created::Replay(_)))
            .count();
        let conflicts = answers
            .iter()
            .filter(|a| **a == Created::IdConflict)
            .count();
        assert_eq!((new, replays, conflicts), (1, 15, 16), "{answers:?}");
    }
    assert_eq!(service.rows(), 20);
}

#[test]
fn batches_that_reuse_ids_across_emails_all_get_answers() {
    let service = Service::start();
    let ids: Vec<String> = (0..8).map(|_| fresh_id()).collect();
    let answers = service.call(async |users| {
        let create = |i: usize| {
            let (users, id) = (users.clone(), ids[i * 7 % 8].clone());
            async move { users.create(&id, &format!("u{}@b.io", i % 13), "A").await }
        };
        join_all((0..2000).map(create)).await
    });
    let failed = answers
        .iter()
        .filter(|a| matches!(a, Created::Failed(_)))
        .count();
    assert_eq!(failed, 0);
    let new = answers
        .iter()
        .filter(|a| matches!(a, Created::New(_)))
        .count();
    assert_eq!(i64::try_from(new).unwrap(), service.rows());
}

#[test]
fn a_row_that_the_database_refuses_does_not_fail_the_others() {
    let service = Service::start();
    service
        .sql()
        .batch_execute("ALTER TABLE users ADD CHECK (name <> 'bad')")
        .unwrap();
    let answers = service.call(async |users| {
        let create = |i: usize| {
            let users = users.clone();
            let name = if i % 10 == 3 { "bad" } else { "good" };
            async move { users.create(&fresh_id(), &format!("u{i}@b.io"), name).await }
        };
        join_all((0..50).map(create)).await
    });
    for (i, answer) in answers.iter().enumerate() {
        match i % 10 {
            3 => assert_eq!(*answer, Created::Invalid(vec![String::new()])),
            _ => assert!(matches!(answer, Created::New(_)), "{answer:?}"),
        }
    }
    assert_eq!(service.rows(), 45);
}

#[test]
fn what_was_written_is_not_denied_because_a_later_statement_failed() {
    let owners = Service::start();
    let name = owners.url.rsplit('/').next().unwrap();
    // A role whose INSERT succeeds, and whose SELECT of what stood in the way fails.
    let role = format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'p'; ALTER DATABASE {name} OWNER TO {name}; \
         GRANT SELECT ON refinery_schema_history TO {name}; \
         GRANT INSERT, SELECT (id) ON users TO {name}"
    );
    owners.sql().batch_execute(&role).unwrap();
    let (_, place) = owners.url.rsplit_once('@').unwrap();
    let service = Service::start_on(&format!("postgres://{name}:p@{place}"), &[]);
    service.wait_until_serving();
    let ids: Vec<String> = (0..20).map(|_| fresh_id()).collect();
    let create_all = || {
        service.call(async |users| {
            let create = |(i, id): (usize, &String)| {
                let (users, id) = (users.clone(), id.clone());
                async move { users.create(&id, &format!("u{}@b.io", i % 10), "A").await }
            };
            join_all(ids.iter().enumerate().map(create)).await
        })
    };
    let answers = create_all();
    for (id, answer) in ids.iter().zip(&answers) {
        if *answer == Created::Failed(ErrorKind::Overloaded) {
            let stored = owners.call(async |users| users.get(id).await);
            assert_eq!(stored, None, "{answers:?}");
        }
    }
    assert!(
        answers.contains(&Created::Failed(ErrorKind::Failed)),
        "{answers:?}"
    );

    // Trying again settles it.
    let grant = format!("GRANT SELECT ON users TO {name}");
    owners.sql().batch_execute(&grant).unwrap();
    let answers = create_all();
    let is_user = |answer: &&Created| matches!(answer, Created::New(_) | Created::Replay(_));
    assert_eq!(answers.iter().filter(is_user).count(), 10, "{answers:?}");
    let taken = |answer: &&Created| **answer == Created::EmailTaken;
    assert_eq!(answers.iter().filter(taken).count(), 10, "{answers:?}");
    assert_eq!(owners.rows(), 10);
}

#[test]
fn an_old_schema_is_refused_until_it_is_migrated() {
    let url = fresh_database();
    let refusal = Service::start_on(&url, &[]).ended().unwrap_err();
    assert!(
        refusal.to_string().contains("users-svc migrate"),
        "{refusal:#}"
    );

    let settings = Settings::try_parse_from(["users-svc", "--database-url", &url]).unwrap();
    let database = settings.database().unwrap();
    let migrate = || users_svc::migrate(&database).unwrap().len();
    let applied: usize = std::thread::scope(|scope| {
        let at_once: Vec<_> = (0..4).map(|_| scope.spawn(migrate)).collect();
        at_once.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(
        applied, 1,
        "each migration is applied by one of those who try at once"
    );

    let service = Service::start_on(&url, &[]);
    service.wait_until_serving();
}

#[test]
fn a_database_in_another_encoding_is_refused() {
    let url = fresh_database();
    let latin = format!("{url}_latin");
    let name = latin.rsplit('/').next().unwrap();
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    postgres::Client::connect(&url, postgres::NoTls)
        .unwrap()
        .batch_execute(&create)
        .unwrap();
    let refusal = Service::start_on(&latin, &["--migrate-on-start", "true"])
        .ended()
        .unwrap_err();
    assert!(refusal.to_string().contains("UTF8"), "{refusal:#}");
}

#[test]
fn without_its_database_the_service_says_overloaded_and_then_recovers() {
    let mut server = Server::temporary().unwrap();
    let url = server.fresh_database().unwrap();
    Service::migrate_if_pooled(&url);
    server.stop();
    let options = ["--migrate-on-start", "true", "--database-timeout-ms", "500"];
    let service = Service::start_on(&url, &options);
    service.call(async |users| {
        let created = users.create(&fresh_id(), "a@b.io", "A").await;
        assert_eq!(created, Created::Failed(ErrorKind::Overloaded));
        assert!(!users.health().await);
    });
    server.start_again().unwrap();
    service.wait_until_serving();

    // Later too, when it has served already.
    let create = async |users: &Client| users.create(&fresh_id(), "a@b.io", "A").await;
    server.stop();
    // The first to use a connection that broke meanwhile cannot know; the next can.
    assert!(matches!(service.call(create), Created::Failed(_)));
    assert_eq!(service.call(create), Created::Failed(ErrorKind::Overloaded));
    assert!(!service.call(async |users| users.health().await));
    server.start_again().unwrap();
    service.wait_until_serving();
    assert!(matches!(service.call(create), Created::New(_)));
}

#[test]
fn a_call_waits_no_longer_than_its_caller() {
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
        assert!(answers.contains(&Created::Failed(ErrorKind::Overloaded)));
        for answer in answers {
            assert!(matches!(answer, Created::Failed(_)));
        }
    });
    drop(transaction);
}

#[test]
fn bad_settings_are_refused_by_name() {
    let settings = Settings::try_parse_from(["users-svc", "--database-url", "nonsense"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = users_svc::run(
        &settings,
        listener,
        &tokio_util::sync::CancellationToken::new(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("DATABASE_URL"));
}
