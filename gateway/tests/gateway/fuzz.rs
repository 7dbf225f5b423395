//! Requests that chance makes up, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bolero::{ValueGenerator, check, produce};
use socket2::SockRef;

use crate::raw::{LIVE, USER, start};

/// How long a client waits for more.
const PATIENCE: Duration = Duration::from_millis(30);

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS", "CONNECT", "get", "", "é",
];
const TARGETS: &[&str] = &[
    "/users",
    "/users",
    "/users/0190a3f4-7c3e-7cc8-a1b2-0242ac120002",
    "/users/%00",
    "/users?email=a%40b.io&pageSize=1",
    "/livez",
    "/readyz",
    "/openapi.json",
    "/docs/../users",
    "/docs/index.html",
    "/",
    "*",
    "http://h/users",
    "http://u@h:80/livez?#",
    "h:80",
    "//",
    "%",
    "",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "",
];
const HEADERS: &[&str] = &[
    "Host: h",
    "Host: h",
    "Host: [::1]:80",
    "Host: a@b",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Upgrade: h2c",
    "Content-Type: application/json",
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Content-Encoding: gzip",
    "Content-Length: 29",
    "Content-Length: 29",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Idempotency-Key: order-17",
    "Idempotency-Key: ",
    "Authorization: Bearer x",
    "Authorization: Basic",
    "Origin: http://example.com",
    "Access-Control-Request-Method: POST",
    "Forwarded: for=\"[::1]\", for=\"",
    "X-Forwarded-For: 192.0.2.1, ,",
    "X-Request-Id: \t",
    "X-Request-Id: 17",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "traceparent: 00-",
    "Accept-Encoding: br",
    " folded",
    ": ",
    "é: é",
    "\0",
];
const BODIES: &[&str] = &[
    USER,
    USER,
    "{}",
    "{\"email\":",
    "1d\r\n",
    "1d\r\n{\"email\":\"a@b.io\",\"name\":\"A\"}\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "",
    LIVE,
    "\0",
];

/// Up to so many bytes; by itself the library would make no more than 64.
fn up_to(length: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=length)
}

fn pick(list: &[&'static str], byte: u8) -> &'static str {
    list[usize::from(byte) % list.len()]
}

/// The request that these bytes stand for, and what comes behind it.
fn request(input: &[u8]) -> Vec<u8> {
    let Some((&[method, target, version, body], headers)) = input.split_first_chunk() else {
        return input.to_owned();
    };
    let line = [
        pick(METHODS, method),
        pick(TARGETS, target),
        pick(VERSIONS, version),
    ]
    .join(" ");
    let headers = headers.iter().map(|header| pick(HEADERS, *header));
    let head: String = [&*line]
        .into_iter()
        .chain(headers)
        .flat_map(|line| [line, "\r\n"])
        .collect();
    format!("{head}\r\n{}{LIVE}", pick(BODIES, body)).into_bytes()
}

#[test]
fn request_that_chance_makes_up_costs_only_its_own_connection() {
    let (_users, gateway) = start();
    let addr = gateway.addr;
    check!().with_generator(up_to(14)).for_each(|input| {
        let request = request(input);
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Ports are few, and a connection that is closed in order keeps its own for a while.
        let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.unwrap();

        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);

        let (request, answer) = (
            String::from_utf8_lossy(&request),
            String::from_utf8_lossy(&answer),
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1."),
            "{request}: {answer}"
        );
        // A handler that panics answers 504.
        let is_fault = |line: &str| line.starts_with("HTTP/1.") && line.contains(" 5");
        assert!(!answer.lines().any(is_fault), "{request}: {answer}");
    });
    assert_eq!(gateway.get("/livez").status, 200);
}
