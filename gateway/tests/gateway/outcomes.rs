//! What each outcome of a call becomes over HTTP.

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Answer, JANE, JSON, Response, answering};

#[test]
fn stored_user_is_201_with_its_location() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let response = gateway.create("jane@example.com", "Jane Doe");
    assert_eq!(response.status, 201);
    let id = users.received.lock().unwrap()[0].id.clone();
    let expected = serde_json::json!({"id": id, "email": "jane@example.com", "name": "Jane Doe"});
    assert_eq!(response.json(), expected);
    assert_eq!(response.header("location"), Some(&*format!("/users/{id}")));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("idempotency-replayed"), None);
}

#[test]
fn each_outcome_has_its_status_and_problem() {
    for (answer, status, problem) in [
        (Answer::Invalid, 400, "invalid"),
        (Answer::EmailTaken, 409, "email-taken"),
        (Answer::IdConflict, 422, "idempotency-key-reused"),
        (Answer::Overloaded, 503, "blank"),
        (Answer::Unimplemented, 503, "blank"),
        (Answer::Failed, 504, "outcome-unknown"),
        (Answer::Disconnect, 504, "outcome-unknown"),
        (Answer::Silence, 504, "outcome-unknown"),
    ] {
        let (_users, gateway) = answering(&[answer]);
        let response = gateway.create("jane@example.com", "Jane Doe");
        assert_eq!(
            (response.status, &*response.problem()),
            (status, problem),
            "{answer:?}"
        );
        assert_eq!(response.header("retry-after").is_some(), status == 503);
    }
}

#[test]
fn all_faults_that_the_service_finds_are_listed() {
    let (_users, gateway) = answering(&[Answer::Invalid]);
    let expected = serde_json::json!([
        {"pointer": "#/email", "detail": "must be better"},
        {"pointer": "#/name", "detail": "must be better"},
    ]);
    assert_eq!(gateway.create("x", "").json()["errors"], expected);
}

#[test]
fn faults_of_shape_and_of_rules_are_listed_together() {
    let (users, gateway) = answering(&[Answer::Invalid]);
    let rule = |pointer| json!({"pointer": pointer, "detail": "must be better"});
    let shape = |pointer, detail| json!({"pointer": pointer, "detail": detail});
    let unknown = "is not a member of a user; those are email and name";
    for (body, errors) in [
        (
            json!({"email": "nope", "name": 7}),
            json!([rule("#/email"), shape("#/name", "must be a string")]),
        ),
        (
            json!({"email": "nope"}),
            json!([rule("#/email"), shape("#/name", "is required")]),
        ),
        (
            json!({"email": null, "name": "", "id": 1}),
            json!([
                shape("#/email", "must be a string"),
                shape("#/id", unknown),
                rule("#/name")
            ]),
        ),
    ] {
        let response = gateway.post(&[JSON], body.to_string().as_bytes());
        assert_eq!((response.status, &*response.problem()), (400, "invalid"));
        assert_eq!(response.json()["errors"], errors, "{body}");
    }
    // The service is asked in a way in which it can store nothing.
    let received = users.received.lock().unwrap();
    let nil = Uuid::nil().to_string();
    assert!(received.iter().all(|call| call.id == nil), "{received:?}");
    assert_eq!(received.len(), 3);
}

#[test]
fn faults_of_shape_are_400_whatever_the_service_answers() {
    let expected = json!([{"pointer": "#/name", "detail": "must be a string"}]);
    for answer in [
        Answer::Stored,
        Answer::Overloaded,
        Answer::Disconnect,
        Answer::Silence,
    ] {
        let (_users, gateway) = answering(&[answer]);
        let response = gateway.post(&[JSON], br#"{"email":"a@b.io","name":7}"#);
        let said = (response.status, &response.json()["errors"]);
        assert_eq!(said, (400, &expected), "{answer:?}");
    }
}

#[test]
fn same_key_means_the_same_id_and_a_replay_says_so() {
    let (users, gateway) = answering(&[Answer::Stored, Answer::Replayed, Answer::Stored]);
    let keyed = |key| gateway.post(&[JSON, ("Idempotency-Key", key)], JANE);
    assert_eq!(keyed("k1").header("idempotency-replayed"), None);
    let replay = keyed("k1");
    assert_eq!(
        (replay.status, replay.header("idempotency-replayed")),
        (201, Some("true"))
    );
    keyed("k2");
    gateway.post(&[JSON], JANE);
    let ids: Vec<String> = users
        .received
        .lock()
        .unwrap()
        .iter()
        .map(|call| call.id.clone())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert!(ids[1] != ids[2] && ids[2] != ids[3]);
}

#[test]
fn stored_user_is_read_by_id() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    let response = gateway.get("/users/0190a3f4-7c3e-7cc8-a1b2-0242ac120002");
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["email"], "jane@example.com");
}

#[test]
fn nothing_but_the_documentation_may_be_kept_by_a_cache() {
    let (_users, gateway) = answering(&[Answer::Stored, Answer::Stored, Answer::EmailTaken]);
    let control = |response: Response| {
        let control = response.header("cache-control").map(str::to_owned);
        (response.status, control)
    };
    let no_store = Some("no-store".to_owned());
    assert_eq!(
        control(gateway.create("a@b.io", "A")),
        (201, no_store.clone())
    );
    assert_eq!(control(gateway.get("/users/7")), (200, no_store.clone()));
    assert_eq!(
        control(gateway.create("a@b.io", "A")),
        (409, no_store.clone())
    );
    assert_eq!(control(gateway.get("/users/7")), (404, no_store.clone()));
    assert_eq!(control(gateway.get("/readyz")), (200, no_store));
    assert_eq!(control(gateway.get("/openapi.json")), (200, None));
}

#[test]
fn percent_encoded_id_is_the_same_id() {
    let (users, gateway) = answering(&[Answer::Stored]);
    for path in ["/users/a-b", "/users/a%2Db", "/users/%61%2db"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
    }
    let received = users.received.lock().unwrap();
    assert!(received.iter().all(|call| call.id == "a-b"), "{received:?}");
}

#[test]
fn id_that_is_no_text_is_404() {
    let (users, gateway) = answering(&[Answer::Stored]);
    assert_eq!(gateway.get("/users/%ff").status, 404);
    assert_eq!(users.calls(), 0);
}

#[test]
fn head_answers_as_get_without_the_body() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    let head = gateway.request("HEAD", "/users/7", &[], b"");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.header("content-length"), Some("55"));
}

#[test]
fn missing_user_is_404() {
    let (_users, gateway) = answering(&[Answer::Replayed]);
    let response = gateway.get("/users/7");
    let said = (response.status, &*response.problem());
    assert_eq!(said, (404, "user-not-found"));
}

#[test]
fn failed_read_is_503_for_whatever_reason() {
    for answer in [
        Answer::Failed,
        Answer::Disconnect,
        Answer::Overloaded,
        Answer::Silence,
    ] {
        let (_users, gateway) = answering(&[answer]);
        assert_eq!(gateway.get("/users/7").status, 503, "{answer:?}");
    }
}

#[test]
fn any_text_passes_through_unchanged() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    proptest!(ProptestConfig::with_cases(100), |(email in any::<String>(), name in any::<String>())| {
        let response = gateway.create(&email, &name);
        prop_assert_eq!(response.status, 201);
        let body = response.json();
        prop_assert_eq!(body["email"].as_str(), Some(&*email));
        prop_assert_eq!(body["name"].as_str(), Some(&*name));
    });
}
