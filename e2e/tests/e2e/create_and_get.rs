//! A user is created, refused and read, through both services.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::prelude::*;
use serde_json::json;

use e2e::{System, rpc};

#[test]
fn created_user_can_be_read_where_its_location_says() {
    let system = System::start();
    let created = system.http.create("jane@example.com", "Jane Doe");
    assert_eq!(created.status, 201);
    let read = system.http.get(&created.location.unwrap());
    assert_eq!((read.status, &read.body), (200, &created.body));
    assert_eq!(system.rows(), 1);
}

#[test]
fn address_in_another_letter_case_is_taken() {
    let system = System::start();
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    let again = system.http.create("JANE@example.com", "Someone else");
    assert_eq!(again.status, 409);
    assert_eq!(again.body["type"], "urn:problem-type:users:email-taken");
    assert_eq!(system.rows(), 1);
}

#[test]
fn invalid_body_is_answered_with_every_fault() {
    let system = System::start();
    for (body, faulty) in [
        (
            json!({"email": "jane", "name": ""}),
            &["#/email", "#/name"][..],
        ),
        (json!({"email": "jane", "name": 7}), &["#/email", "#/name"]),
        (json!({"email": "jane"}), &["#/email", "#/name"]),
        (json!({"email": "jane@example.com"}), &["#/name"]),
        (
            json!({"email": [], "name": "\u{7}", "x": 1}),
            &["#/email", "#/name", "#/x"],
        ),
    ] {
        let invalid = system.http.post(&body);
        let errors = invalid.body["errors"].as_array().unwrap().iter();
        let pointers: Vec<_> = errors
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!((invalid.status, &*pointers), (400, faulty), "{body}");
    }
    assert_eq!(system.rows(), 0);
}

#[test]
fn unknown_id_is_not_found() {
    let system = System::start();
    let unknown = "/users/0190a3f4-7c3e-7cc8-a1b2-0242ac120002";
    assert_eq!(system.http.get(unknown).status, 404);
}

#[test]
fn accepted_text_is_returned_byte_for_byte_by_get_and_list() {
    let system = System::start();
    let accepted = RefCell::new(BTreeMap::new());
    let emails = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,12}@[a-z0-9]{1,8}\\.[a-z]{2,4}";
    // Any text, and text that is a name more often than not.
    let names = prop_oneof![
        any::<String>(),
        "[\\PC]{1,200}",
        "\\s?[a-zé日\u{1F600}\u{200d}]{1,50}\\s?"
    ];

    proptest!(ProptestConfig::with_cases(200), |(email in emails, name in names)| {
        let created = system.http.create(&email, &name);
        prop_assert!([201, 400, 409].contains(&created.status));
        if created.status == 201 {
            prop_assert_eq!(created.body["email"].as_str(), Some(&*email));
            prop_assert_eq!(created.body["name"].as_str(), Some(name.trim()));
            let read = system.http.get(&created.location.unwrap());
            prop_assert_eq!(&read.body, &created.body);
            let id = created.body["id"].as_str().unwrap().to_owned();
            accepted.borrow_mut().insert(id, created.body);
        }
    });

    let accepted = accepted.into_inner();
    let count = accepted.len();
    assert!(count > 50, "too few to mean anything: {count}");
    assert_eq!(rpc::list_users(system.users_addr), accepted);
}
