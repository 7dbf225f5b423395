//! Connections that are kept between requests, byte for byte over raw sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::raw::{LIVE, POST, USER, connect, start, status};
use crate::support::{Answer, FakeUsers, Gateway, JANES_ID};

/// Longer than an idle connection keeps HTTP's buffers.
const A_WHILE: Duration = Duration::from_millis(300);

/// Sends a request, and reads its response, which fits one read.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    next(stream)
}

fn next(stream: &mut TcpStream) -> String {
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// A connection that has been answered, and then idle for a while.
fn idle(gateway: &Gateway) -> TcpStream {
    let mut stream = connect(gateway);
    assert_eq!(status(&ask(&mut stream, LIVE)), "200");
    sleep(A_WHILE);
    stream
}

/// Reads what still comes until the gateway closes the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn is_open(stream: &mut TcpStream) -> bool {
    status(&ask(stream, LIVE)) == "200"
}

#[test]
fn idle_connection_is_answered_until_its_time_is_over() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--keep-alive-timeout-ms", "3000"]);
    let mut stream = idle(&gateway);
    let post = format!("{POST}Content-Length: {}\r\n\r\n{USER}", USER.len());
    assert_eq!(status(&ask(&mut stream, &post)), "201");
    sleep(A_WHILE);
    assert_eq!(status(&ask(&mut stream, LIVE)), "200");

    let start = Instant::now();
    assert_eq!(rest(stream), "");
    let took = start.elapsed().as_millis();
    assert!((3000..5000).contains(&took), "{took}");
}

#[test]
fn connection_is_kept_for_longer_than_a_minute_unless_set_otherwise() {
    use clap::Parser as _;
    let settings = gateway::Settings::try_parse_from(["gateway"]).unwrap();
    assert!(settings.keep_alive_timeout > Duration::from_secs(60));
}

#[test]
fn pipelined_requests_to_an_idle_connection_are_all_answered() {
    let (_users, gateway) = start();
    let mut stream = idle(&gateway);
    let last = LIVE.replace("Host", "Connection: close\r\nHost");
    // Much more than one read takes.
    let many = LIVE.repeat(200) + &last;
    stream.write_all(many.as_bytes()).unwrap();
    assert_eq!(rest(stream).matches("HTTP/1.1 200").count(), 201);
}

#[test]
fn request_in_parts_is_answered_once_whenever_the_parts_come() {
    let (users, gateway) = start();
    let body = format!("{}{USER}", " ".repeat(10_000));
    let post = format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = idle(&gateway);
    let mut calls = users.calls();
    for cut in [1, 30, post.len() - 1] {
        for pause in [0, 45, 50, 55, 95, 100, 105, 300] {
            // Behind a response, while the connection is looked at, or when it is idle.
            assert!(is_open(&mut stream));
            sleep(Duration::from_millis(pause));
            stream.write_all(&post.as_bytes()[..cut]).unwrap();
            sleep(A_WHILE);
            stream.write_all(&post.as_bytes()[cut..]).unwrap();
            let answer = next(&mut stream);
            assert_eq!(status(&answer), "201", "{cut}, {pause}: {answer}");
            calls += 1;
            assert_eq!(users.calls(), calls);
            if answer.contains("connection: close") {
                stream = idle(&gateway);
            }
        }
    }
}

#[test]
fn body_that_nobody_read_is_not_taken_for_a_request() {
    let (users, gateway) = start();
    let mut stream = idle(&gateway);
    let inner = format!("{POST}Content-Length: {}\r\n\r\n{USER}", USER.len());
    let head = format!(
        "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        inner.len()
    );
    assert_eq!(status(&ask(&mut stream, &head)), "404");
    sleep(A_WHILE);

    let _ = stream.write_all(inner.as_bytes());
    assert_eq!(rest(stream), "");
    assert_eq!(users.calls(), 0);
}

/// The response comes when the connection is about to be looked at, however the two happen to be.
#[test]
fn body_of_a_request_that_is_answered_late_is_not_taken_for_a_request() {
    let users = FakeUsers::start(&[Answer::Silence]);
    let gateway = Gateway::start(&users, &["--request-timeout-ms", "1000"]);
    let head = format!("ET /users/{JANES_ID} HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n");
    let body = LIVE.repeat(40_000 / LIVE.len());
    thread::scope(|scope| {
        for delay in 0..60 {
            let (gateway, head, body) = (&gateway, &head, &body);
            scope.spawn(move || {
                let mut stream = connect(gateway);
                stream.write_all(b"G").unwrap();
                sleep(Duration::from_millis(delay));
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.write_all(body.as_bytes());
                assert_eq!(rest(stream).matches("HTTP/1.1 ").count(), 1, "{delay}");
            });
        }
    });
}

#[test]
fn connection_that_said_close_is_not_kept() {
    let (_users, gateway) = start();
    let mut stream = idle(&gateway);
    let start = Instant::now();
    let close = LIVE.replace("Host", "Connection: close\r\nHost");
    stream.write_all((close + LIVE).as_bytes()).unwrap();
    assert_eq!(rest(stream).matches("HTTP/1.1 ").count(), 1);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn drain_answers_what_is_on_its_way_to_an_idle_connection() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--drain-timeout-ms", "5000"]);
    let (mut asking, silent) = (idle(&gateway), idle(&gateway));

    let start = Instant::now();
    gateway.shutdown.cancel();

    let answer = ask(&mut asking, LIVE);
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(rest(silent), "");
    drop(gateway);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn new_connection_gets_the_place_of_the_one_that_has_been_idle_for_longest() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--max-connections", "3"]);
    let (oldest, mut second) = (idle(&gateway), idle(&gateway));
    let mut busy = connect(&gateway);
    // Neither is old enough yet, so a further connection waits.
    let mut new = connect(&gateway);
    new.write_all(LIVE.as_bytes()).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert!(is_open(&mut busy));
        sleep(Duration::from_millis(100));
    }
    new.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(new.read(&mut [0]).is_err(), "it has been served");

    new.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(status(&next(&mut new)), "200");
    assert_eq!(rest(oldest), "");
    assert!(is_open(&mut busy) && is_open(&mut second));
}
