//! How many INSERT statements creates take: the plain one, which is tried first unless conflicts are to be expected,
//! and the one that skips conflicts.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{CreateAnswer, Service, fresh_id};

/// How long a conflict has the next batches expect one.
const EXPECTED_FOR: Duration = Duration::from_secs(1);

/// A service whose database counts the INSERT statements that it gets.
fn counting() -> Service {
    let service = Service::start();
    let count = "CREATE SEQUENCE plain; CREATE SEQUENCE skipping; \
         CREATE FUNCTION count_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM nextval(CASE WHEN current_query() LIKE '%insert_new_users%' THEN 'plain' \
                 ELSE 'skipping' END); \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER count_insert BEFORE INSERT ON users EXECUTE FUNCTION count_insert()";
    service.sql().batch_execute(count).unwrap();
    service
}

/// The plain INSERT statements until now, and those that skip conflicts. Both count when they write nothing, too.
fn inserts(service: &Service) -> [i64; 2] {
    ["plain", "skipping"].map(|sequence| {
        let select =
            format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}");
        service.sql().query_one(&select, &[]).unwrap().get(0)
    })
}

fn create(service: &Service, email: &str) -> CreateAnswer {
    service.call(async |users| users.create("", email, "A").await)
}

/// Creates users by a call of their own.
fn create_many(service: &Service, users: &[(&str, &str)]) -> Vec<CreateAnswer> {
    let users: Vec<_> = users.iter().map(|(id, email)| (*id, *email, "A")).collect();
    service.call(async |client| client.create_many(&users).await.unwrap())
}

/// Tries until it takes less time than a conflict is expected for, which a busy machine may not manage at once.
fn in_time<T>(mut attempt: impl FnMut() -> T) -> T {
    for _ in 0..20 {
        let begin = Instant::now();
        let done = attempt();
        if begin.elapsed() < EXPECTED_FOR {
            return done;
        }
    }
    panic!("this machine is too slow");
}

#[test]
fn new_users_take_one_plain_insert() {
    let service = counting();

    create(&service, "a@b.io");
    assert_eq!(inserts(&service), [1, 0]);

    create_many(&service, &[("", "b@b.io"), ("", "c@b.io")]);
    assert_eq!(inserts(&service), [2, 0]);
}

#[test]
fn conflict_has_the_next_batches_try_no_plain_insert_for_a_second() {
    let service = counting();
    create(&service, "a@b.io");
    let mut emails = (0..).map(|i| format!("u{i}@b.io"));

    let [before, after] = in_time(|| {
        assert_eq!(create(&service, "a@b.io"), CreateAnswer::EmailTaken);
        let before = inserts(&service);
        create(&service, &emails.next().unwrap());
        [before, inserts(&service)]
    });
    assert_eq!(after, [before[0], before[1] + 1]);

    sleep(EXPECTED_FOR);
    create(&service, &emails.next().unwrap());
    assert_eq!(inserts(&service), [after[0] + 1, after[1]]);
}

#[test]
fn users_that_were_stored_take_no_insert_when_they_come_again_and_again() {
    let service = counting();
    let ids = [fresh_id(), fresh_id()];
    let users = [(&*ids[0], "a@b.io"), (&*ids[1], "b@b.io")];
    let replay = || {
        let answers = create_many(&service, &users);
        let is_replay = |answer: &_| matches!(answer, CreateAnswer::Replay(_));
        assert!(answers.iter().all(is_replay), "{answers:?}");
        inserts(&service)
    };
    create_many(&service, &users);

    let mut before = replay();
    // Longer, all in all, than one of them is remembered.
    for _ in 0..3 {
        let after = in_time(|| {
            before = replay();
            sleep(EXPECTED_FOR / 2);
            replay()
        });
        assert_eq!(before, after);
    }
}

#[test]
fn stored_user_that_comes_with_a_new_one_is_a_replay_and_the_other_is_created() {
    let service = counting();
    let ids = [fresh_id(), fresh_id()];
    let old = [(&*ids[0], "a@b.io")];
    create_many(&service, &old);

    let answers = in_time(|| {
        create_many(&service, &old);
        create_many(&service, &[old[0], (&*ids[1], "b@b.io")])
    });

    assert!(matches!(answers[0], CreateAnswer::Replay(_)), "{answers:?}");
    assert!(matches!(answers[1], CreateAnswer::New(_)), "{answers:?}");
}

#[test]
fn users_of_whom_two_have_the_same_address_take_no_plain_insert() {
    let service = counting();

    let answers = create_many(&service, &[("", "a@b.io"), ("", "A@b.io"), ("", "c@b.io")]);

    assert_eq!(answers[1], CreateAnswer::EmailTaken);
    assert_eq!(inserts(&service), [0, 1]);
}
