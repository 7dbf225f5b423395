//! What `createUsers` promises: each user has what its own `createUser` would have.

use std::time::Duration;

use capnp::ErrorKind;
use futures::future::join_all;

use crate::support::{CreateAnswer, ManyError, Service, User, fresh_id};

fn user(id: &str, email: &str, name: &str) -> User {
    User {
        id: id.into(),
        email: email.into(),
        name: name.into(),
    }
}

#[test]
fn each_user_has_an_outcome_of_its_own() {
    let service = Service::start();
    let ids: Vec<String> = (0..7).map(|_| fresh_id()).collect();
    service.call(async |users| {
        users.create(&ids[0], "old@b.io", "Old").await;
        let rows: [(&str, &str, &str); 10] = [
            (&ids[1], " New@b.io ", "New"),
            (&ids[0], "old@b.io", "Old"),
            (&ids[2], "OLD@b.io", "Other"),
            (&ids[0], "other@b.io", "Old"),
            ("7", "x", ""),
            // Twice in one call: the first one comes first.
            (&ids[3], "twice@b.io", "Twice"),
            (&ids[3], "twice@b.io", "Twice"),
            (&ids[4], "TWICE@b.io", "Twice"),
            (&ids[1], "a-new@b.io", "New"),
            ("", "no-id@b.io", "No id"),
        ];
        let mut answers = users.create_many(&rows).await.unwrap();

        let CreateAnswer::New(minted) = answers.pop().unwrap() else {
            panic!()
        };
        assert_eq!(users.get(&minted.id).await, Some(minted));
        let faults = ["id", "email", "name"].map(str::to_owned).to_vec();
        let twice = user(&ids[3], "twice@b.io", "Twice");
        let expected = [
            CreateAnswer::New(user(&ids[1], "New@b.io", "New")),
            CreateAnswer::Replay(user(&ids[0], "old@b.io", "Old")),
            CreateAnswer::EmailTaken,
            CreateAnswer::IdConflict,
            CreateAnswer::Invalid(faults),
            CreateAnswer::New(twice.clone()),
            CreateAnswer::Replay(twice),
            CreateAnswer::EmailTaken,
            CreateAnswer::IdConflict,
        ];
        assert_eq!(answers, expected);
    });
    assert_eq!(service.rows(), 4);
}

#[test]
fn call_creates_from_1_to_500_users() {
    let service = Service::start();
    let emails: Vec<String> = (0..501).map(|i| format!("u{i}@b.io")).collect();
    let all: Vec<_> = emails.iter().map(|email| ("", &**email, "A")).collect();
    service.call(async |users| {
        let faults = Err(ManyError::Invalid(vec!["users".to_owned()]));
        assert_eq!(users.create_many(&[]).await, faults);
        assert_eq!(users.create_many(&all).await, faults);

        let answers = users.create_many(&all[1..]).await.unwrap();
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, CreateAnswer::New(_)))
        );
    });
    assert_eq!(service.rows(), 500);
}

/// What an import does that is started again: replays first, then new users, and then some of both.
#[test]
fn repeated_calls_are_replays_whatever_came_before_them() {
    let service = Service::start();
    let rows: Vec<(String, String)> = (0..300)
        .map(|i| (fresh_id(), format!("u{i}@b.io")))
        .collect();
    let all: Vec<_> = rows
        .iter()
        .map(|(id, email)| (&**id, &**email, "A"))
        .collect();
    service.call(async |users| {
        for (range, news) in [
            (0..100, 100),
            (0..100, 0),
            (0..100, 0),
            (50..150, 50),
            (0..150, 0),
            (150..300, 150),
            (0..300, 0),
        ] {
            let answers = users.create_many(&all[range.clone()]).await.unwrap();
            for ((id, email, name), answer) in all[range.clone()].iter().zip(&answers) {
                let user = user(id, email, name);
                let stored = [CreateAnswer::New(user.clone()), CreateAnswer::Replay(user)];
                assert!(stored.contains(answer), "{answer:?}");
            }
            let is_new = |answer: &&CreateAnswer| matches!(answer, CreateAnswer::New(_));
            assert_eq!(answers.iter().filter(is_new).count(), news, "{range:?}");
        }
    });
    assert_eq!(service.rows(), 300);
}

#[test]
fn same_users_at_the_same_time_are_each_created_once() {
    let service = Service::start();
    let rows: Vec<(String, String)> = (0..100)
        .map(|i| (fresh_id(), format!("u{i}@b.io")))
        .collect();
    let mut backwards: Vec<_> = rows
        .iter()
        .map(|(id, email)| (&**id, &**email, "A"))
        .collect();
    let forwards = backwards.clone();
    backwards.reverse();
    service.call(async |users| {
        let many = [&forwards, &backwards, &forwards, &backwards];
        let many = join_all(many.map(|rows| users.create_many(rows)));
        let single = join_all(
            forwards
                .iter()
                .map(|(id, email, name)| users.create(id, email, name)),
        );
        let (many, mut answers) = futures::join!(many, single);
        answers.extend(many.into_iter().flat_map(Result::unwrap));

        let is_new = |answer: &&CreateAnswer| matches!(answer, CreateAnswer::New(_));
        assert_eq!(answers.iter().filter(is_new).count(), 100);
        let is_stored = |answer| matches!(answer, &CreateAnswer::New(_) | &CreateAnswer::Replay(_));
        assert!(answers.iter().all(is_stored), "{answers:?}");
    });
    assert_eq!(service.rows(), 100);
}

#[test]
fn user_that_someone_else_is_writing_fails_alone() {
    let service = Service::start();
    let mut other = service.sql();
    let mut transaction = other.transaction().unwrap();
    let insert = "INSERT INTO users VALUES (gen_random_uuid(), 'u7@b.io', 'Other')";
    transaction.execute(insert, &[]).unwrap();
    let emails: Vec<String> = (0..20).map(|i| format!("u{i}@b.io")).collect();
    let rows: Vec<_> = emails.iter().map(|email| ("", &**email, "A")).collect();

    let answers = service.call(async |users| users.create_many(&rows).await.unwrap());
    transaction.commit().unwrap();

    for (i, answer) in answers.iter().enumerate() {
        match i {
            7 => assert_eq!(*answer, CreateAnswer::Failed(ErrorKind::Overloaded)),
            _ => assert!(matches!(answer, CreateAnswer::New(_)), "{i}: {answer:?}"),
        }
    }
    let again = service.call(async |users| users.create_many(&rows[7..8]).await.unwrap());
    assert_eq!(again, [CreateAnswer::EmailTaken]);
}

#[test]
fn call_in_which_every_user_fails_fails_as_a_whole() {
    let service = Service::start();
    service
        .sql()
        .batch_execute("ALTER TABLE users RENAME TO gone")
        .unwrap();
    let rows = [("", "a@b.io", "A"), ("", "b@b.io", "B"), ("", "x", "B")];
    service.call(async |users| {
        let failed = Err(ManyError::Failed(ErrorKind::Overloaded));
        assert_eq!(users.create_many(&rows[..2]).await, failed);
        // Here one of them has an outcome.
        let answers = users.create_many(&rows[1..]).await.unwrap();
        let faults = CreateAnswer::Invalid(vec!["email".to_owned()]);
        assert_eq!(
            answers,
            [CreateAnswer::Failed(ErrorKind::Overloaded), faults]
        );
    });
}

/// The log of the server is read by more people than its tables.
#[test]
fn conflicts_leave_no_line_in_the_log_of_the_server() {
    let service = Service::start();
    service.call(async |users| {
        for _ in 0..3 {
            users.create("", "jane@secret.example.com", "Jane").await;
            let rows = [("", "jane@secret.example.com", "Jane"), ("", "x@b.io", "X")];
            users.create_many(&rows).await.unwrap();
            // Longer than a conflict is expected for.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    });
    let data: String = (service.sql().query_one("SHOW data_directory", &[]).unwrap()).get(0);
    let log = std::fs::read_to_string(format!("{data}/../postgres.log")).unwrap();
    assert!(log.contains("ready to accept connections"), "{log}");
    assert!(!log.contains("secret.example.com"), "{log}");
}

/// A trigger may drop rows without an error.
#[test]
fn user_that_a_trigger_drops_is_not_acknowledged() {
    let service = Service::start();
    let trigger = "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
         IF new.name = ''drop'' THEN RETURN NULL; END IF; RETURN new; END'; \
         CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION drop_row()";
    service.sql().batch_execute(trigger).unwrap();
    service.call(async |users| {
        let rows = [("", "a@b.io", "keep"), ("", "b@b.io", "drop")];
        let answers = users.create_many(&rows).await.unwrap();
        assert!(matches!(answers[0], CreateAnswer::New(_)), "{answers:?}");
        assert_eq!(answers[1], CreateAnswer::Failed(ErrorKind::Overloaded));
        let alone = users.create("", "c@b.io", "drop").await;
        assert_eq!(alone, CreateAnswer::Failed(ErrorKind::Overloaded));
    });
    assert_eq!(service.rows(), 1);
}
