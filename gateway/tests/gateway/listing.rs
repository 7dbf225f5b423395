//! Finding and listing users, which take an API key.

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{Answer, FakeUsers, Gateway, JANES_ID, Response, keyed};

/// The key `abc`, which may read.
const KEYS: &str = "reports read ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn start(answer: Answer) -> (FakeUsers, Gateway, NamedTempFile) {
    let keys = NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), KEYS).unwrap();
    let (users, gateway) = keyed(&[answer], keys.path());
    (users, gateway, keys)
}

fn get(gateway: &Gateway, query: &str) -> Response {
    let key = ("Authorization", "Bearer abc");
    gateway.request("GET", &format!("/users{query}"), &[key], b"")
}

fn jane() -> Value {
    json!({"id": JANES_ID, "email": "jane@example.com", "name": "Jane Doe"})
}

#[test]
fn page_of_users_leads_to_the_next_one_unless_it_is_the_last() {
    let (users, gateway, _keys) = start(Answer::Stored);
    let first = get(&gateway, "?pageSize=7");
    let expected = json!({"users": [jane()], "nextPageToken": "next"});
    assert_eq!((first.status, first.json()), (200, expected));
    assert_eq!(first.header("cache-control"), Some("no-store"));

    let last = get(&gateway, "?pageSize=7&pageToken=next");
    assert_eq!(
        (last.status, last.json()),
        (200, json!({"users": [jane()]}))
    );
    assert_eq!(get(&gateway, "").status, 200);
    let received = users.received.lock().unwrap();
    let asked: Vec<_> = received.iter().map(|call| &*call.id).collect();
    assert_eq!(asked, ["7 ", "7 next", "50 "]);
}

#[test]
fn address_is_found_once_or_not_at_all() {
    let (users, gateway, _keys) = start(Answer::Stored);
    let found = get(&gateway, "?email=Jane%2Bx@example.com");
    assert_eq!(
        (found.status, found.json()),
        (200, json!({"users": [jane()]}))
    );
    assert_eq!(found.header("cache-control"), Some("no-store"));
    assert_eq!(users.received.lock().unwrap()[0].id, "Jane+x@example.com");

    let (_users, gateway, _keys) = start(Answer::EmailTaken);
    let none = get(&gateway, "?email=jane@example.com");
    assert_eq!((none.status, none.json()), (200, json!({"users": []})));
}

#[test]
fn bad_query_is_400_with_every_parameter_at_fault_and_calls_nobody() {
    let (users, gateway, _keys) = start(Answer::Stored);
    let response = get(&gateway, "?pageSize=x&limit=5&pageToken=a&pageToken=b");
    assert_eq!((response.status, &*response.problem()), (400, "invalid"));
    let errors = json!([
        {"parameter": "limit", "detail": "is not a parameter; those are email, pageSize and pageToken"},
        {"parameter": "pageToken", "detail": "must be given once"},
        {"parameter": "pageSize", "detail": "must be a whole number, such as 50"},
    ]);
    assert_eq!(response.json()["errors"], errors);
    assert_eq!(users.calls(), 0);
}

#[test]
fn fault_that_the_service_finds_names_its_parameter() {
    let (_users, gateway, _keys) = start(Answer::Invalid);
    let response = get(&gateway, "?pageSize=0");
    assert_eq!((response.status, &*response.problem()), (400, "invalid"));
    let errors = json!([{"parameter": "pageSize", "detail": "must be better"}]);
    assert_eq!(response.json()["errors"], errors);
}

#[test]
fn read_that_fails_is_503() {
    for answer in [Answer::Overloaded, Answer::Unimplemented, Answer::Silence] {
        let (_users, gateway, _keys) = start(answer);
        for query in ["", "?email=jane@example.com"] {
            let response = get(&gateway, query);
            assert_eq!(response.status, 503, "{answer:?} {query}");
            response.problem();
        }
    }
}

#[test]
fn head_answers_as_get_does_without_a_body() {
    let (_users, gateway, _keys) = start(Answer::Stored);
    let key = ("Authorization", "Bearer abc");
    let head = gateway.request("HEAD", "/users", &[key], b"");
    assert_eq!((head.status, &*head.body), (200, ""));
}
