//! Creating many users in a few calls: each has an outcome of its own, whatever becomes of the others.

use std::iter;

use users_conformance::Step;
use uuid::Uuid;

use super::client::Client;
use super::conformance as scripted;
use super::service::Service;
use super::session::user_at;

tests_of_clients_of_this_contract! {
    conformance::users_created_in_one_call_have_the_outcome_that_its_attempts_allow,
    conformance::each_user_of_a_call_has_an_outcome_of_its_own,
    create_many::each_of_many_users_has_its_own_outcome_and_all_others_are_stored,
}

/// More than two calls can carry.
const MANY: usize = 1200;

pub fn each_of_many_users_has_its_own_outcome_and_all_others_are_stored(client: &Client) {
    let (service, domain) = (Service::shared(), domain_of_its_own());
    let mut session = client.session(&service.addr);
    let (id, email, name) = user_at(&domain);
    assert_eq!(session.create(&id, &email, &name), "created");
    let mut conflicting = user_at(&domain);
    conflicting.0.clone_from(&id);
    let mut taken = user_at(&domain);
    taken.1 = email.to_uppercase();

    let mut users: Vec<_> = iter::repeat_with(|| user_at(&domain)).take(MANY).collect();
    let mut expected = vec!["created"; MANY];
    // In each of the calls, and where one ends.
    for (i, user, outcome) in [
        (0, conflicting, "idConflict"),
        (499, taken, "emailTaken"),
        (500, (id, email, name), "replayed"),
        (1100, user_at("domain-without-a-dot"), "invalid"),
    ] {
        (users[i], expected[i]) = (user, outcome);
    }

    assert_eq!(session.create_many(&users), expected);
    let stored = i64::try_from(MANY - 3).unwrap();
    assert_eq!(service.rows_at(&domain), stored);
}

#[test]
fn rust_client_packs_users_by_their_size() {
    check_long_users(&Client::rust());
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_client_packs_users_by_their_size() {
    check_long_users(&Client::python());
}

/// In C++ it is for the program to pack.
fn check_long_users(client: &Client) {
    let (service, domain) = (Service::shared(), domain_of_its_own());
    let mut session = client.session(&service.addr);
    let mut users: Vec<_> = iter::repeat_with(|| user_at(&domain)).take(600).collect();
    // 500 of these are more than a message to the service holds.
    for (_, _, name) in &mut users {
        *name = "Д".repeat(200);
    }
    users[300].2 = "x".repeat(140_000);
    let mut expected = ["created"; 600];
    expected[300] = "invalid";

    assert_eq!(session.create_many(&users), expected);
    assert_eq!(service.rows_at(&domain), 599);
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn create_many_is_unimplemented_in_the_first_published_contract() {
    let addr = scripted::start(&[Step::Creates]);
    let mut session = Client::of_first_published_contract().session(&addr);

    let users = [(); 2].map(|()| user_at("example.com"));
    assert_eq!(session.create_many(&users), ["unimplemented"; 2]);
}

/// For addresses by which a test finds its own users among those of others.
fn domain_of_its_own() -> String {
    format!("{}.example.com", Uuid::new_v4())
}
