//! What `createUser` promises to callers at the same time, who share a batch.

use std::thread;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use futures::future::join_all;

use crate::support::{CreateAnswer, Service, fresh_id};

/// Creates users at the same time, over one connection: `user(i)` is the id, e-mail address and name of the
/// one with the number `i`.
fn create_at_once(
    service: &Service,
    count: usize,
    user: impl Fn(usize) -> (String, String, &'static str),
) -> Vec<CreateAnswer> {
    service.call(async |users| {
        let create = |i| {
            let (users, (id, email, name)) = (users.clone(), user(i));
            async move { users.create(&id, &email, name).await }
        };
        join_all((0..count).map(create)).await
    })
}

fn is_new(answer: &CreateAnswer) -> bool {
    matches!(answer, CreateAnswer::New(_))
}

fn is_replay(answer: &CreateAnswer) -> bool {
    matches!(answer, CreateAnswer::Replay(_))
}

fn count(answers: &[CreateAnswer], is: impl Fn(&CreateAnswer) -> bool) -> usize {
    answers.iter().filter(|answer| is(answer)).count()
}

#[test]
fn one_of_many_concurrent_creates_gets_an_email() {
    let service = Service::start();
    let emails = ["a@b.io", "A@B.io"];
    let answers = create_at_once(&service, 64, |i| (fresh_id(), emails[i % 2].into(), "A"));
    assert_eq!(count(&answers, is_new), 1);
    assert_eq!(count(&answers, |a| *a == CreateAnswer::EmailTaken), 63);
    assert_eq!(service.rows(), 1);
}

#[test]
fn concurrent_creates_of_one_id_are_told_apart() {
    let service = Service::start();
    for round in 0..20 {
        let id = fresh_id();
        // Odd ones ask for another e-mail address under the same id.
        let user = |i: usize| (id.clone(), format!("{}-{round}@b.io", i % 2), "A");
        let answers = create_at_once(&service, 32, user);
        let conflicts = count(&answers, |a| *a == CreateAnswer::IdConflict);
        let counts = (
            count(&answers, is_new),
            count(&answers, is_replay),
            conflicts,
        );
        assert_eq!(counts, (1, 15, 16), "{answers:?}");
    }
    assert_eq!(service.rows(), 20);
}

#[test]
fn creates_that_arrive_together_share_a_few_commits() {
    let service = Service::start();
    let commits = || -> i64 {
        let mut sql = service.sql();
        let flush = "SELECT pg_stat_force_next_flush()";
        let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        sql.batch_execute(flush).unwrap();
        sql.query_one(count, &[]).unwrap().get(0)
    };
    let before = commits();

    let answers = create_at_once(&service, 500, |i| (fresh_id(), format!("u{i}@b.io"), "A"));

    assert_eq!(count(&answers, is_new), 500);
    // The server's backends say of their commits once a second.
    thread::sleep(Duration::from_millis(1500));
    let some_more = create_at_once(&service, 1, |_| (fresh_id(), "x@b.io".to_owned(), "A"));
    assert_eq!(count(&some_more, is_new), 1);
    let commits = commits() - before;
    assert!((1..60).contains(&commits), "{commits}");
}

#[test]
fn batches_that_reuse_ids_across_emails_all_get_answers() {
    // However slow this machine is.
    let service = Service::start_with(&["--database-timeout-ms", "30000"]);
    let ids: Vec<String> = (0..8).map(|_| fresh_id()).collect();
    let user = |i: usize| (ids[i * 7 % 8].clone(), format!("u{}@b.io", i % 13), "A");
    let answers = create_at_once(&service, 2000, user);
    assert_eq!(count(&answers, |a| matches!(a, CreateAnswer::Failed(_))), 0);
    let created = i64::try_from(count(&answers, is_new)).unwrap();
    assert_eq!(created, service.rows());
}

#[test]
fn refused_row_does_not_fail_its_batch() {
    let service = Service::start();
    let check = "ALTER TABLE users ADD CHECK (name <> 'bad')";
    service.sql().batch_execute(check).unwrap();
    let name = |i: usize| if i % 10 == 3 { "bad" } else { "good" };
    let answers = create_at_once(&service, 50, |i| {
        (fresh_id(), format!("u{i}@b.io"), name(i))
    });
    for (i, answer) in answers.iter().enumerate() {
        match name(i) {
            "bad" => assert_eq!(*answer, CreateAnswer::Invalid(vec![String::new()])),
            _ => assert!(is_new(answer), "{answer:?}"),
        }
    }
    assert_eq!(service.rows(), 45);
}

#[test]
fn user_whom_someone_else_was_about_to_write_is_created_when_they_give_up() {
    let service = Service::start_with(&["--database-timeout-ms", "30000"]);
    let mut other = service.sql();
    let mut transaction = other.transaction().unwrap();
    let insert = "INSERT INTO users VALUES (gen_random_uuid(), 'A@b.io', 'Other')";
    transaction.execute(insert, &[]).unwrap();

    let answer = thread::scope(|scope| {
        let create = || service.call(async |users| users.create("", "a@b.io", "A").await);
        let created = scope.spawn(create);
        // Longer than a batch waits, in which others are.
        thread::sleep(Duration::from_millis(300));
        transaction.rollback().unwrap();
        created.join().unwrap()
    });

    assert!(is_new(&answer), "{answer:?}");
}

#[test]
fn user_whom_someone_else_is_writing_is_waited_for_for_half_of_a_statements_time() {
    let service = Service::start_with(&["--database-timeout-ms", "4000"]);
    let mut other = service.sql();
    let mut transaction = other.transaction().unwrap();
    let insert = "INSERT INTO users VALUES (gen_random_uuid(), 'a@b.io', 'Other')";
    transaction.execute(insert, &[]).unwrap();
    let begin = Instant::now();

    let answer = service.call(async |users| users.create("", "a@b.io", "A").await);

    assert_eq!(answer, CreateAnswer::Failed(ErrorKind::Overloaded));
    let waited = Duration::from_secs(2)..Duration::from_millis(3500);
    assert!(waited.contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

/// A service whose role may insert, but may not read what stood in the way of an insert.
fn start_without_select(owners: &Service) -> (Service, String) {
    let role = owners.url.rsplit('/').next().unwrap();
    let grant = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; ALTER DATABASE {role} OWNER TO {role}; \
         GRANT SELECT ON refinery_schema_history TO {role}; \
         GRANT INSERT, SELECT ON users TO {role}"
    );
    owners.sql().batch_execute(&grant).unwrap();
    let (_, place) = owners.url.rsplit_once('@').unwrap();
    let service = Service::start_on(&format!("postgres://{role}:p@{place}"), &[]);
    service.wait_until_serving();
    // It would not have started like this.
    let revoke =
        format!("REVOKE SELECT ON users FROM {role}; GRANT SELECT (id) ON users TO {role}");
    owners.sql().batch_execute(&revoke).unwrap();
    (service, role.to_owned())
}

#[test]
fn written_rows_are_not_denied_when_a_later_statement_fails() {
    let owners = Service::start();
    let (service, role) = start_without_select(&owners);
    let ids: Vec<String> = (0..20).map(|_| fresh_id()).collect();
    // Two with the same address follow each other, so that one batch has both.
    let user = |i: usize| (ids[i].clone(), format!("u{}@b.io", i / 2), "A");

    let answers = create_at_once(&service, 20, user);

    for (id, answer) in ids.iter().zip(&answers) {
        if *answer == CreateAnswer::Failed(ErrorKind::Overloaded) {
            let stored = owners.call(async |users| users.get(id).await);
            assert_eq!(stored, None, "{answers:?}");
        }
    }
    let unknown = CreateAnswer::Failed(ErrorKind::Failed);
    assert!(answers.contains(&unknown), "{answers:?}");

    // Trying again settles it.
    let grant = format!("GRANT SELECT ON users TO {role}");
    owners.sql().batch_execute(&grant).unwrap();
    let answers = create_at_once(&service, 20, user);
    let stored = count(&answers, |a| is_new(a) || is_replay(a));
    let taken = count(&answers, |a| *a == CreateAnswer::EmailTaken);
    assert_eq!((stored, taken), (10, 10), "{answers:?}");
    assert_eq!(owners.rows(), 10);
}
