//! What the gateway does when the users service fails, is away, or comes back.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{Answer, FakeUsers, Gateway, answering};

/// Of a service (tcpmux, RFC 1078) that no machine has had for long.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn failed_call_is_repeated_with_the_same_id() {
    for failure in [Answer::Failed, Answer::Disconnect, Answer::Overloaded] {
        let (users, gateway) = answering(&[failure, failure, Answer::Stored]);
        assert_eq!(
            gateway.create("jane@example.com", "Jane Doe").status,
            201,
            "{failure:?}"
        );
        let calls = users.received.lock().unwrap().clone();
        assert_eq!(calls.len(), 3);
        assert!(calls.iter().all(|call| call.id == calls[0].id));
    }
}

#[test]
fn unknown_outcome_stays_unknown_when_the_repetition_is_refused() {
    let (_users, gateway) = answering(&[Answer::Failed, Answer::Overloaded]);
    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 504);
}

#[test]
fn service_is_told_how_long_the_caller_waits() {
    let (users, gateway) = answering(&[Answer::Stored]);
    gateway.create("jane@example.com", "Jane Doe");
    let told = users.received.lock().unwrap()[0].timeout_ms;
    assert!((500..=1000).contains(&told), "{told}");
}

#[test]
fn gateway_without_a_users_service_is_alive_but_not_ready() {
    let gateway = Gateway::start_unready(NOBODY, &[]);
    assert_eq!(gateway.get("/livez").status, 200);
    assert_eq!(gateway.get("/readyz").status, 503);
}

#[test]
fn gateway_with_as_many_calls_as_allowed_is_ready() {
    let users = FakeUsers::start(&[Answer::Silence]);
    let gateway = Gateway::start(&users, &["--max-in-flight", "1"]);
    std::thread::scope(|scope| {
        scope.spawn(|| gateway.create("jane@example.com", "Jane Doe"));
        let end = Instant::now() + Duration::from_secs(5);
        while users.calls() < 1 {
            assert!(Instant::now() < end);
        }
        assert_eq!(gateway.create("joe@example.com", "Joe").status, 503);
        assert_eq!(gateway.get("/readyz").status, 200);
    });
}

#[test]
fn gateway_without_a_users_service_answers_503_and_after_a_second_at_once() {
    let gateway = Gateway::start_unready(NOBODY, &[]);
    let start = Instant::now();
    let response = gateway.create("jane@example.com", "Jane Doe");
    let said = (response.status, response.header("retry-after"));
    assert_eq!(said, (503, Some("1")));
    assert!(start.elapsed() < Duration::from_secs(4));

    let start = Instant::now();
    assert_eq!(gateway.create("jane@example.com", "Jane Doe").status, 503);
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
fn link_comes_back_when_the_service_does() {
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
fn service_that_hangs_up_is_not_called_again_at_once() {
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
