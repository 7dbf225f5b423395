//! The HTTP contract, in front of a fake users service on a real socket.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{Answer, FakeUsers, Gateway};
use proptest::prelude::*;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const JANE: &[u8] = br#"{"email":"jane@example.com","name":"Jane Doe"}"#;

/// A gateway whose users service gives these answers.
fn answering(answers: &[Answer]) -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(answers);
    let gateway = Gateway::start(&users, &["--request-timeout-ms", "1000"]);
    (users, gateway)
}

#[test]
fn a_stored_user_is_201_with_its_location() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let response = gateway.create("jane@example.com", "Jane Doe");
    assert_eq!(response.status, 201);
    let id = users.seen.lock().unwrap()[0].id.clone();
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
fn the_same_key_means_the_same_id_and_a_replay_says_so() {
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
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.id.clone())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert!(ids[1] != ids[2] && ids[2] != ids[3]);
}

#[test]
fn a_bad_key_is_400_and_calls_nobody() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let long = "k".repeat(256);
    for keys in [&["a b"][..], &[""], &[&long], &["a", "b"]] {
        let mut headers = vec![JSON];
        headers.extend(keys.iter().map(|key| ("Idempotency-Key", *key)));
        let response = gateway.post(&headers, JANE);
        assert_eq!(
            (response.status, &*response.problem()),
            (400, "bad-idempotency-key")
        );
    }
    assert_eq!(users.calls(), 0);
}

#[test]
fn bodies_that_are_not_a_user_are_400_and_call_nobody() {
    let (users, gateway) = answering(&[Answer::Stored]);
    for (body, problem) in [
        (&b"{"[..], "malformed"),
        (b"[]", "malformed"),
        (b"\xff", "malformed"),
        (b"{}", "invalid"),
        (br#"{"email":"a@b.io","name":"A","admin":true}"#, "invalid"),
        (br#"{"email":"a@b.io","name":"A","name":"B"}"#, "invalid"),
        (br#"{"email":["a@b.io"],"name":"A"}"#, "invalid"),
    ] {
        let response = gateway.post(&[JSON], body);
        assert_eq!(
            (response.status, &*response.problem()),
            (400, problem),
            "{body:?}"
        );
    }
    assert_eq!(gateway.post(&[JSON], b"").status, 400);
    assert_eq!(users.calls(), 0);
}

#[test]
fn only_plain_json_is_taken() {
    let (users, gateway) = answering(&[Answer::Stored]);
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(
            gateway.post(&[("Content-Type", good)], JANE).status,
            201,
            "{good}"
        );
    }
    let gzip = ("Content-Encoding", "gzip");
    for bad in [
        &[][..],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/jsonx")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[JSON, gzip],
        &[JSON, JSON],
    ] {
        let response = gateway.post(bad, JANE);
        assert_eq!(
            (response.status, &*response.problem()),
            (415, "blank"),
            "{bad:?}"
        );
    }
    assert_eq!(users.calls(), 2);
}

#[test]
fn a_body_over_64_kib_is_413() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let body = |size: usize| {
        let padding = size - JANE.len();
        [JANE, &vec![b' '; padding]].concat()
    };
    assert_eq!(gateway.post(&[JSON], &body(64 * 1024)).status, 201);
    let response = gateway.post(&[JSON], &body(64 * 1024 + 1));
    assert_eq!((response.status, &*response.problem()), (413, "blank"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(users.calls(), 1);
}

#[test]
fn users_are_read_by_id() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let response = gateway.get("/users/0190a3f4-7c3e-7cc8-a1b2-0242ac120002");
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["email"], "jane@example.com");
    let head = gateway.request("HEAD", "/users/7", &[], b"");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.header("content-length"), Some("55"));
    assert_eq!(users.calls(), 2);

    let (_users, gateway) = answering(&[Answer::Replayed]);
    let response = gateway.get("/users/7");
    assert_eq!((response.status, &*response.problem()), (404, "blank"));
}

#[test]
fn a_read_that_brings_no_user_is_503_for_whatever_reason() {
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
fn paths_and_methods_that_do_not_exist_are_404_and_405() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for path in ["/", "/user", "/users/1/2", "/livez/x", "/%2e%2e/users"] {
        let response = gateway.get(path);
        assert_eq!(
            (response.status, &*response.problem()),
            (404, "blank"),
            "{path}"
        );
    }
    for (path, allow) in [
        ("/users", "POST, OPTIONS"),
        ("/users/7", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET, HEAD, OPTIONS"),
    ] {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let response = gateway.request(method, path, &[], b"");
            assert_eq!(
                (response.status, response.header("allow")),
                (405, Some(allow)),
                "{path}"
            );
            response.problem();
        }
        let options = gateway.request("OPTIONS", path, &[], b"");
        assert_eq!(
            (options.status, options.header("allow")),
            (204, Some(allow))
        );
    }
    assert_eq!(gateway.get("/users").status, 405);
    assert_eq!(
        gateway.request("POST", "/users/7", &[JSON], JANE).status,
        405
    );
}

#[test]
fn a_request_id_is_echoed_or_minted() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    let echoed = |id: &str| {
        let response = gateway.request("GET", "/livez", &[("X-Request-Id", id)], b"");
        response.header("x-request-id").unwrap().to_owned()
    };
    let longest = "r".repeat(128);
    for good in ["abc-123", &longest] {
        assert_eq!(echoed(good), good);
    }
    for bad in ["", "a b", &"r".repeat(129), "é"] {
        assert_eq!(echoed(bad).len(), 36, "{bad}");
    }
    assert_ne!(echoed(""), echoed(""));
}

#[test]
fn failed_calls_are_repeated_with_the_same_id() {
    for failure in [Answer::Failed, Answer::Disconnect, Answer::Overloaded] {
        let (users, gateway) = answering(&[failure, failure, Answer::Stored]);
        assert_eq!(
            gateway.create("jane@example.com", "Jane Doe").status,
            201,
            "{failure:?}"
        );
        let seen = users.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|call| call.id == seen[0].id));
    }
}

#[test]
fn an_unknown_outcome_stays_unknown_when_the_repetition_is_refused() {
    let (_users, gateway) = answering(&[Answer::Failed, Answer::Overloaded]);
    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 504);
}

#[test]
fn the_service_is_told_how_long_the_caller_waits() {
    let (users, gateway) = answering(&[Answer::Stored]);
    gateway.create("jane@example.com", "Jane Doe");
    let told = users.seen.lock().unwrap()[0].timeout_ms;
    assert!((500..=1000).contains(&told), "{told}");
}

#[test]
fn without_a_users_service_it_is_alive_but_not_ready_and_answers_503() {
    // Of a service (tcpmux, RFC 1078) that no machine has had for long.
    let nobody = "127.0.0.1:1";
    let gateway = Gateway::start_unready(nobody, &[]);
    assert_eq!(gateway.get("/livez").status, 200);
    let start = Instant::now();
    let response = gateway.create("jane@example.com", "Jane Doe");
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(gateway.get("/readyz").status, 503);
    assert!(start.elapsed() < Duration::from_secs(4));
    // Once the link has been down for a second, at once.
    let start = Instant::now();
    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 503);
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn the_link_comes_back_when_the_service_does() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let addr = users.addr;
    let gateway = Gateway::start(&users, &[]);
    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 201);
    drop(users);
    assert_eq!(gateway.get("/readyz").status, 503);
    let listener = TcpListener::bind(addr).unwrap();
    let _users = FakeUsers::start_on(listener, &[Answer::Stored]);
    let end = Instant::now() + Duration::from_secs(10);
    while gateway.create("jane@example.com", "Jane Doe").status != 201 {
        assert!(Instant::now() < end, "the link does not come back");
    }
}

#[test]
fn services_that_hang_up_are_not_called_again_at_once() {
    let users = [(); 2].map(|()| FakeUsers::start(&[Answer::HangUp]));
    let both = format!("{},{}", users[0].addr, users[1].addr);
    let gateway = Gateway::start_unready(&both, &[]);
    std::thread::sleep(Duration::from_secs(2));
    drop(gateway);
    for users in users {
        let connections = users.connections.load(Ordering::Relaxed);
        assert!((5..200).contains(&connections), "{connections}");
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

#[test]
fn retries_stay_within_their_budget() {
    let (users, gateway) = answering(&[Answer::Overloaded]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 503);
                }
            });
        }
    });
    // 100 saved up for a burst, and then one for each five calls.
    let retries = users.calls() - 400;
    assert!((100..=100 + 400 / 5 + 5).contains(&retries), "{retries}");
}
