//! Bytes over raw sockets, for what an HTTP client would not send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Answer, FakeUsers, Gateway};

/// The body of a create.
pub const USER: &str = r#"{"email":"a@b.io","name":"A"}"#;
pub const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
pub const POST: &str = "POST /users HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";

pub fn start() -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, &[]);
    (users, gateway)
}

pub fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Sends `bytes` and returns everything until the gateway closes the connection, and when it did.
pub fn send(gateway: &Gateway, bytes: &[u8]) -> (String, Duration) {
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

pub fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}
