//! What `createUser` promises to one caller.

use crate::database_faults::raise_on_insert;
use crate::support::{CreateAnswer, Service, User, fresh_id};

#[test]
fn created_user_can_be_read() {
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
        assert_eq!(created, CreateAnswer::New(jane.clone()));
        assert_eq!(users.get(&id).await, Some(jane.clone()));
        assert_eq!(users.get(&id.to_uppercase()).await, Some(jane.clone()));
        assert_eq!(users.list(10, "").await, Ok((vec![jane], String::new())));
    });
}

#[test]
fn create_is_a_replay_only_with_the_same_id_email_and_name() {
    let service = Service::start();
    let (id, other) = (fresh_id(), fresh_id());
    service.call(async |users| {
        let CreateAnswer::New(user) = users.create(&id, "a@b.io", "A").await else {
            panic!()
        };
        assert_eq!(
            users.create(&id, " a@b.io", "A ").await,
            CreateAnswer::Replay(user)
        );
        assert_eq!(
            users.create(&id, "a@b.io", "B").await,
            CreateAnswer::IdConflict
        );
        assert_eq!(
            users.create(&id, "A@b.io", "A").await,
            CreateAnswer::IdConflict
        );
        assert_eq!(
            users.create(&id, "x@b.io", "A").await,
            CreateAnswer::IdConflict
        );
        assert_eq!(
            users.create(&other, "A@B.IO", "A").await,
            CreateAnswer::EmailTaken
        );
    });
    assert_eq!(service.rows(), 1);
}

#[test]
fn user_from_before_a_constraint_is_replayed() {
    let check = "ALTER TABLE users ADD CHECK (length(name) > 1) NOT VALID";
    check_that_what_keeps_out_new_users_does_not_hide_old_ones(|service| {
        service.sql().batch_execute(check).unwrap();
    });
}

#[test]
fn user_from_before_a_trigger_is_replayed() {
    check_that_what_keeps_out_new_users_does_not_hide_old_ones(|service| {
        raise_on_insert(service, "23514", "true");
    });
}

/// PostgreSQL checks constraints, and runs triggers, before it looks for conflicts.
fn check_that_what_keeps_out_new_users_does_not_hide_old_ones(keep_out: impl Fn(&Service)) {
    let service = Service::start();
    let (id, other) = (fresh_id(), fresh_id());
    let CreateAnswer::New(user) =
        service.call(async |users| users.create(&id, "a@b.io", "A").await)
    else {
        panic!()
    };

    keep_out(&service);

    service.call(async |users| {
        let replay = users.create(&id, "a@b.io", "A").await;
        assert_eq!(replay, CreateAnswer::Replay(user));
        let conflict = users.create(&id, "a@b.io", "B").await;
        assert_eq!(conflict, CreateAnswer::IdConflict);
        let taken = users.create(&other, "A@b.io", "A").await;
        assert_eq!(taken, CreateAnswer::EmailTaken);
        let refused = users.create(&other, "c@b.io", "C").await;
        assert_eq!(refused, CreateAnswer::Invalid(vec![String::new()]));
    });
    assert_eq!(service.rows(), 1);
}

#[test]
fn empty_id_gets_a_fresh_one() {
    let service = Service::start();
    service.call(async |users| {
        let CreateAnswer::New(user) = users.create("", "a@b.io", "A").await else {
            panic!()
        };
        // A UUIDv7.
        assert_eq!(user.id.as_bytes()[14], b'7', "{}", user.id);
        assert_eq!(users.get(&user.id).await, Some(user));
        assert_eq!(
            users.create("", "a@b.io", "A").await,
            CreateAnswer::EmailTaken
        );
    });
}

#[test]
fn all_faults_of_a_request_are_listed_and_nothing_is_stored() {
    let service = Service::start();
    service.call(async |users| {
        let expected = ["id", "email", "name"].map(str::to_owned).to_vec();
        assert_eq!(
            users.create("7", "jane", "").await,
            CreateAnswer::Invalid(expected)
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
