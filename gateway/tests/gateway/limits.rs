//! What slow, greedy and hostile HTTP clients get, byte for byte over raw sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Answer, FakeUsers, Gateway};

const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /users HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";

fn start() -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &[]);
    (users, gateway)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Sends `bytes` and returns everything until the gateway closes the connection, and when it did.
fn send(gateway: &Gateway, bytes: &[u8]) -> (String, Duration) {
    let mut stream = connect(gateway);
    let start = Instant::now();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(closed, "the connection stays open: {error}");
    }
    (
        String::from_utf8_lossy(&answer).into_owned(),
        start.elapsed(),
    )
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn slow_clients_are_ended_after_ten_seconds() {
    let (_users, gateway) = start();
    let slow_body = format!("{POST}Content-Length: 100\r\n\r\n{{");
    let cases: [(&[u8], &str); 4] = [
        (b"", ""),
        (b"GET /livez HT", ""),
        (b"GET /livez HTTP/1.1\r\nHost: h\r\nX: ", ""),
        (slow_body.as_bytes(), "408"),
    ];
    thread::scope(|scope| {
        for (sent, expected) in cases {
            let gateway = &gateway;
            scope.spawn(move || {
                let (answer, took) = send(gateway, sent);
                // hyper may say 408 itself to a head that came in part.
                let said = status(&answer);
                assert!(
                    said == expected || (expected.is_empty() && said == "408"),
                    "{sent:?}: {answer}"
                );
                assert!((9..14).contains(&took.as_secs()), "{sent:?}: {took:?}");
            });
        }
        // A head that drips does not buy more time.
        scope.spawn(|| {
            let mut stream = connect(&gateway);
            let start = Instant::now();
            let mut drip = LIVE
                .bytes()
                .cycle()
                .skip(4)
                .take(10_000)
                .map(|b| if b == b'\n' { b'x' } else { b });
            stream.write_all(b"GET /").unwrap();
            while start.elapsed() < Duration::from_secs(20) {
                if stream.write_all(&[drip.next().unwrap()]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
            assert!(start.elapsed() < Duration::from_secs(14));
        });
    });
}

#[test]
fn heads_over_16_kib_are_431() {
    let (_users, gateway) = start();
    let head = |size: usize| {
        format!(
            "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(size)
        )
    };
    assert_eq!(status(&send(&gateway, head(15 * 1024).as_bytes()).0), "200");
    assert_eq!(status(&send(&gateway, head(17 * 1024).as_bytes()).0), "431");
    let many = "X: x\r\n".repeat(200);
    let many = format!("GET /livez HTTP/1.1\r\nHost: h\r\n{many}\r\n");
    assert_eq!(status(&send(&gateway, many.as_bytes()).0), "431");
}

#[test]
fn bodies_over_64_kib_without_a_length_are_413() {
    let (users, gateway) = start();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let body = format!(
        "{POST}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(17)
    );
    assert_eq!(status(&send(&gateway, body.as_bytes()).0), "413");
    let user = r#"{"email":"a@b.io","name":"A"}"#;
    let small = format!(
        "{POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{user}\r\n0\r\n\r\n",
        user.len()
    );
    assert_eq!(status(&send(&gateway, small.as_bytes()).0), "201");
    // One that announces more than it may is told before it is read.
    let announced = format!("{POST}Content-Length: 99999999999\r\n\r\n");
    let (answer, took) = send(&gateway, announced.as_bytes());
    assert_eq!(status(&answer), "413");
    assert!(took < Duration::from_secs(5));
    assert_eq!(users.calls(), 1);
}

#[test]
fn a_good_client_is_served_promptly_beside_a_thousand_idle_ones() {
    let (_users, gateway) = start();
    let idle: Vec<TcpStream> = (0..1000).map(|_| connect(&gateway)).collect();
    let start = Instant::now();
    for i in 0..20 {
        assert_eq!(gateway.create(&format!("u{i}@b.io"), "A").status, 201);
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    drop(idle);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--max-connections", "2"]);
    let (first, _second) = (connect(&gateway), connect(&gateway));
    let mut third = connect(&gateway);
    third.write_all(LIVE.as_bytes()).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut buffer = [0; 100];
    assert!(
        third.read(&mut buffer).is_err(),
        "a third connection is served"
    );
    drop(first);
    third
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert!(third.read(&mut buffer).unwrap() > 0);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_users, gateway) = start();
    let requests: Vec<String> = (0..10)
        .map(|i| format!("GET /users/{i} HTTP/1.1\r\nHost: h\r\nX-Request-Id: r{i}\r\n\r\n"))
        .collect();
    let last = LIVE.replace("Host", "Connection: close\r\nHost");
    let (answer, _) = send(&gateway, (requests.concat() + &last).as_bytes());
    let ids: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("x-request-id: r"))
        .collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 11);
}

#[test]
fn a_client_that_leaves_in_the_middle_costs_nobody_anything() {
    let users = FakeUsers::start(&[Answer::Stored]);
    // One call at a time: one that leaked would be the last.
    let gateway = Gateway::start(&users, &["--max-in-flight", "1"]);
    let user = r#"{"email":"a@b.io","name":"A"}"#;
    let whole = format!("{POST}Content-Length: {}\r\n\r\n{user}", user.len());
    for cut in [10, whole.len() - 1, whole.len()] {
        for _ in 0..20 {
            connect(&gateway)
                .write_all(&whole.as_bytes()[..cut])
                .unwrap();
        }
    }
    let end = Instant::now() + Duration::from_secs(10);
    while gateway.create("b@b.io", "B").status != 201 {
        assert!(Instant::now() < end);
    }
}

#[test]
fn what_is_not_http_is_turned_away() {
    let (_users, gateway) = start();
    let tls_hello =
        b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03random\x00\x00\x02\x13\x01\x01\x00";
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [&tls_hello[..], http2, b"\0\0\0\0\0\0\0\0", b"hello\r\n\r\n"] {
        let (answer, took) = send(&gateway, bytes);
        assert!(matches!(status(&answer), "" | "400" | "505"), "{answer}");
        assert!(took < Duration::from_secs(5));
    }
}

#[test]
fn requests_that_can_be_read_in_two_ways_are_400() {
    let (users, gateway) = start();
    let user = r#"{"email":"a@b.io","name":"A"}"#;
    let chunked = format!("{:x}\r\n{user}\r\n0\r\n\r\n", user.len());
    let json = "Content-Type: application/json\r\n";
    for request in [
        "GET /livez HTTP/1.1\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        format!("{POST}Content-Length: 5\r\nContent-Length: 29\r\n\r\n{user}"),
        format!("{POST}Content-Length: 5, 29\r\n\r\n{user}"),
        format!("{POST}Content-Length: +29\r\n\r\n{user}"),
        format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n{chunked}"),
        format!(
            "POST /users HTTP/1.0\r\nHost: h\r\n{json}Transfer-Encoding: chunked\r\n\r\n{chunked}"
        ),
        "GET /livez HTTP/1.1\r\nHost : h\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n".to_owned(),
    ] {
        let (answer, took) = send(&gateway, request.as_bytes());
        assert_eq!(status(&answer), "400", "{request}\n{answer}");
        assert!(took < Duration::from_secs(5), "{request}");
    }
    assert_eq!(users.calls(), 0);
    // With two lengths the chunks count, and nothing that follows is taken for a request.
    for lengths in [
        "Content-Length: 29\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let (answer, _) = send(
            &gateway,
            format!("{POST}{lengths}\r\n{chunked}{LIVE}").as_bytes(),
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"));
    }
    // HTTP/1.0 had no Host.
    assert_eq!(
        status(&send(&gateway, b"GET /livez HTTP/1.0\r\n\r\n").0),
        "200"
    );
}

#[test]
fn overload_is_answered_at_once_and_what_was_accepted_is_served() {
    let users = FakeUsers::start(&[Answer::Silence]);
    let gateway = Gateway::start(
        &users,
        &["--max-in-flight", "10", "--request-timeout-ms", "3000"],
    );
    thread::scope(|scope| {
        let accepted: Vec<_> = (0..9)
            .map(|i| {
                scope.spawn({
                    let gateway = &gateway;
                    move || gateway.create(&format!("u{i}@b.io"), "A")
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(2);
        while users.calls() < 9 {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(5));
        }
        let tenth = scope.spawn(|| gateway.create("u10@b.io", "A"));
        while users.calls() < 10 {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(5));
        }
        let start = Instant::now();
        let shed = gateway.create("u11@b.io", "A");
        assert_eq!((shed.status, shed.header("retry-after")), (503, Some("1")));
        assert!(
            start.elapsed() < Duration::from_millis(300),
            "{:?}",
            start.elapsed()
        );
        for call in accepted {
            assert_eq!(call.join().unwrap().status, 504);
        }
        tenth.join().unwrap();
    });
}

#[test]
fn stopping_answers_what_is_in_flight_and_says_close() {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &["--drain-timeout-ms", "2000"]);
    let user = r#"{"email":"a@b.io","name":"A"}"#;
    let whole = format!("{POST}Content-Length: {}\r\n\r\n{user}", user.len());
    let (mut half, mut idle) = (connect(&gateway), connect(&gateway));
    half.write_all(&whole.as_bytes()[..whole.len() - 1])
        .unwrap();
    idle.write_all(LIVE.as_bytes()).unwrap();
    let mut buffer = [0; 1000];
    assert!(idle.read(&mut buffer).unwrap() > 0);

    let start = Instant::now();
    gateway.shutdown.cancel();
    // An idle connection's next request may be on its way.
    idle.write_all(LIVE.replace("/livez", "/readyz").as_bytes())
        .unwrap();
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert!(
        status(&answer) == "503" && answer.contains("connection: close"),
        "{answer}"
    );
    half.write_all(&whole.as_bytes()[whole.len() - 1..])
        .unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(
        status(&answer) == "201" && answer.contains("connection: close"),
        "{answer}"
    );
    drop(gateway);
    assert!(start.elapsed() < Duration::from_secs(2));

    // A client that never finishes does not hold it up for ever.
    let gateway = Gateway::start(&users, &["--drain-timeout-ms", "1000"]);
    let mut half = connect(&gateway);
    half.write_all(&whole.as_bytes()[..whole.len() - 1])
        .unwrap();
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    drop(gateway);
    assert!(
        (900..2000).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}
