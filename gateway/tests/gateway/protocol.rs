//! HTTP/1.1 itself: bytes that are no request, or that can be read as two.

use std::time::Duration;

use crate::raw::{LIVE, POST, USER, send, start, status};

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
fn bytes_that_are_not_http_are_turned_away() {
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
fn request_that_can_be_read_in_two_ways_is_400() {
    let (users, gateway) = start();
    let chunked = format!("{:x}\r\n{USER}\r\n0\r\n\r\n", USER.len());
    let json = "Content-Type: application/json\r\n";
    for request in [
        "GET /livez HTTP/1.1\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: user@a\r\n\r\n".to_owned(),
        format!("{POST}Content-Length: 5\r\nContent-Length: 29\r\n\r\n{USER}"),
        format!("{POST}Content-Length: 5, 29\r\n\r\n{USER}"),
        format!("{POST}Content-Length: +29\r\n\r\n{USER}"),
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
}

#[test]
fn nothing_behind_a_request_with_two_lengths_is_taken_for_a_request() {
    let (_users, gateway) = start();
    let chunked = format!("{:x}\r\n{USER}\r\n0\r\n\r\n", USER.len());
    for lengths in [
        "Content-Length: 29\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 29\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
    ] {
        let request = format!("{POST}{lengths}\r\n{chunked}{LIVE}");
        let (answer, _) = send(&gateway, request.as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"));
    }
}

#[test]
fn connection_is_kept_after_a_chunked_body() {
    let (users, gateway) = start();
    let chunked = format!("{:x}\r\n{USER}\r\n0\r\n\r\n", USER.len());
    let request = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunked}");
    let last = LIVE.replace("Host", "Connection: close\r\nHost");
    let (answer, _) = send(&gateway, (request.repeat(2) + &last).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 20").count(), 3, "{answer}");
    assert_eq!(users.calls(), 2);
}

#[test]
fn target_may_name_the_host_too() {
    let (_users, gateway) = start();
    for host in ["example.com", "", "a.proxy"] {
        let line = "GET http://example.com/livez HTTP/1.1\r\nConnection: close";
        let (answer, _) = send(
            &gateway,
            format!("{line}\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        assert_eq!(status(&answer), "200", "{host}");
    }
}

#[test]
fn request_to_tunnel_is_404() {
    let (_users, gateway) = start();
    for line in ["CONNECT h:80 HTTP/1.1", "GET h:80 HTTP/1.1"] {
        let request = format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n");
        let (answer, _) = send(&gateway, request.as_bytes());
        assert_eq!(status(&answer), "404", "{line}: {answer}");
    }
}

#[test]
fn http_1_0_needs_no_host() {
    let (_users, gateway) = start();
    let (answer, _) = send(&gateway, b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(status(&answer), "200");
}
