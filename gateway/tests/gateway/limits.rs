//! What slow and greedy HTTP clients get, byte for byte over raw sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{LIVE, POST, USER, connect, send, start, status};
use crate::support::{Answer, FakeUsers, Gateway, Response};

#[test]
fn client_that_stops_in_the_middle_is_ended_after_ten_seconds() {
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
                let is_fine = said == expected || (expected.is_empty() && said == "408");
                assert!(is_fine, "{sent:?}: {answer}");
                assert!((9..14).contains(&took.as_secs()), "{sent:?}: {took:?}");
            });
        }
    });
}

#[test]
fn head_that_drips_buys_no_more_time() {
    let (_users, gateway) = start();
    let mut stream = connect(&gateway);
    let start = Instant::now();
    let drip = LIVE.bytes().cycle().skip(4);
    let mut drip = drip.map(|b| if b == b'\n' { b'x' } else { b });
    stream.write_all(b"GET /").unwrap();
    while start.elapsed() < Duration::from_secs(20) {
        if stream.write_all(&[drip.next().unwrap()]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() < Duration::from_secs(14));
}

#[test]
fn head_over_16_kib_is_431() {
    let (_users, gateway) = start();
    let head = |size: usize| {
        format!(
            "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(size)
        )
    };
    assert_eq!(status(&send(&gateway, head(15 * 1024).as_bytes()).0), "200");
    let many = "X: x\r\n".repeat(101);
    let many = format!("GET /livez HTTP/1.1\r\nHost: h\r\n{many}\r\n");
    for refused in [head(17 * 1024), many.clone(), LIVE.repeat(3) + &many] {
        let (answer, _) = send(&gateway, refused.as_bytes());
        let last = &answer[answer.rfind("HTTP/1.1 ").unwrap()..];
        let response = Response::parse(last);
        assert_eq!((response.status, &*response.problem()), (431, "blank"));
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let length = response.body.len().to_string();
        assert_eq!(response.header("content-length"), Some(&*length));
    }
}

#[test]
fn head_that_cannot_be_read_is_400_with_a_problem() {
    let (_users, gateway) = start();
    for head in [
        "hello\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET /li vez HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let (answer, _) = send(&gateway, head.as_bytes());
        let response = Response::parse(&answer);
        let said = (response.status, &*response.problem());
        assert_eq!(said, (400, "malformed"), "{head}");
    }
}

#[test]
fn chunked_body_over_64_kib_is_413() {
    let (users, gateway) = start();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let chunks = chunk.repeat(17);
    let body = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    assert_eq!(status(&send(&gateway, body.as_bytes()).0), "413");
    assert_eq!(users.calls(), 0);
}

#[test]
fn chunked_body_of_a_user_is_201() {
    let (_users, gateway) = start();
    let head = format!("{POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = format!("{:x}\r\n{USER}\r\n0\r\n\r\n", USER.len());
    assert_eq!(status(&send(&gateway, (head + &body).as_bytes()).0), "201");
}

#[test]
fn body_that_is_announced_too_long_is_413_before_it_is_read() {
    let (_users, gateway) = start();
    let announced = format!("{POST}Content-Length: 99999999999\r\n\r\n");
    let (answer, took) = send(&gateway, announced.as_bytes());
    assert_eq!(status(&answer), "413");
    assert!(took < Duration::from_secs(5));
}

#[test]
fn client_is_served_promptly_beside_a_thousand_idle_ones() {
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
fn client_that_leaves_in_the_middle_costs_nobody_anything() {
    let users = FakeUsers::start(&[Answer::Stored]);
    // One call at a time: one that leaked would be the last.
    let gateway = Gateway::start(&users, &["--max-in-flight", "1"]);
    let whole = format!("{POST}Content-Length: {}\r\n\r\n{USER}", USER.len());
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
fn overload_is_answered_at_once_and_accepted_requests_are_served() {
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
