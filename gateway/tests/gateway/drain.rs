//! How the gateway stops.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{LIVE, POST, USER, connect, status};
use crate::support::{Answer, FakeUsers, Gateway};

/// A create in two parts, of which the second is its last byte.
fn create_in_two_parts() -> (Vec<u8>, Vec<u8>) {
    let mut first = format!("{POST}Content-Length: {}\r\n\r\n{USER}", USER.len()).into_bytes();
    let last = first.split_off(first.len() - 1);
    (first, last)
}

/// Reads a connection to its end, and checks the last response.
fn assert_closes_with(stream: &mut TcpStream, expected: &str) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), expected, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[test]
fn drain_answers_what_is_in_flight_and_says_close() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--drain-timeout-ms", "2000"]);
    let (first, last) = create_in_two_parts();
    let (mut half, mut idle) = (connect(&gateway), connect(&gateway));
    half.write_all(&first).unwrap();
    idle.write_all(LIVE.as_bytes()).unwrap();
    assert!(idle.read(&mut [0; 1000]).unwrap() > 0);

    let start = Instant::now();
    gateway.shutdown.cancel();

    // An idle connection's next request may be on its way.
    let ready = LIVE.replace("/livez", "/readyz");
    idle.write_all(ready.as_bytes()).unwrap();
    assert_closes_with(&mut idle, "503");
    half.write_all(&last).unwrap();
    assert_closes_with(&mut half, "201");
    drop(gateway);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn drain_ends_after_its_timeout_although_a_client_never_finishes() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--drain-timeout-ms", "1000"]);
    let (first, _) = create_in_two_parts();
    let mut half = connect(&gateway);
    half.write_all(&first).unwrap();
    thread::sleep(Duration::from_millis(50));

    let start = Instant::now();
    drop(gateway);

    let took = start.elapsed();
    assert!((900..2000).contains(&took.as_millis()), "{took:?}");
}
