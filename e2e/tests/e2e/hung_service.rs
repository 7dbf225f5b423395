//! A users service that hangs costs the first requests their deadline, and later ones nothing.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use e2e::System;

/// Creates a user; the status, and how long it took.
fn create(system: &System, name: &str) -> (u16, Duration) {
    let start = Instant::now();
    let answer = system.http.create(&format!("{name}@example.com"), "A");
    (answer.status, start.elapsed())
}

/// Stops a service that has just served, and sends it a request.
fn hang(system: &System) {
    assert_eq!(create(system, "before").0, 201);
    system.users.signal(Signal::SIGSTOP);
    // What was sent to it is unknown.
    let (status, took) = create(system, "first");
    assert!([503, 504].contains(&status), "{status}");
    assert!(took < Duration::from_secs(7), "{took:?}");
}

/// Waits until nothing is sent to it any more.
fn wait_until_shed(system: &System) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let (status, took) = create(system, "while");
        if status == 503 && took < Duration::from_millis(200) {
            return;
        }
        assert!(Instant::now() < end, "{status} after {took:?}");
    }
}

#[test]
fn service_that_hangs_is_noticed_and_requests_fail_fast_until_it_is_back() {
    let system = System::start();
    hang(&system);
    wait_until_shed(&system);

    system.users.signal(Signal::SIGCONT);
    system.http.wait_until_ready();
    assert_eq!(create(&system, "after").0, 201);
}
