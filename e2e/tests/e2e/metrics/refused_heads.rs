//! Requests that no handler sees, because their head is refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::admin::value;
use e2e::eventually;

use super::start;

/// Longer than anything may take here. A head may take 10 s.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn heads_that_are_refused_are_counted_by_reason() {
    let (system, gateway, _) = start();
    let connect = || {
        let client = TcpStream::connect(("127.0.0.1", system.http.port())).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    };
    let send = |text: &str| {
        let mut client = connect();
        client.write_all(text.as_bytes()).unwrap();
        let mut response = Vec::new();
        // The rest of a large head is met by a reset.
        let _ = client.read_to_end(&mut response);
        String::from_utf8(response).unwrap()
    };
    let refused = |reason: &str| value(&gateway, "http_server_refused_heads_total", &[reason]);

    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(17_000)
    );
    assert!(send(&large).starts_with("HTTP/1.1 431 "));
    assert!(send("no HTTP\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(send("GET / HTTP/1.1\r\nHost x\r\n\r\n").starts_with("HTTP/1.1 400 "));
    eventually("they are counted", || {
        (refused("too_large"), refused("malformed")) == (1.0, 2.0)
    });

    // A connection that idles after a request has no head that could be late, and one that ends is not late.
    let mut idle = connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_ne!(idle.read(&mut [0; 64]).unwrap(), 0);
    let mut late = connect();
    late.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    drop(connect());
    // The gateway closes it when its time is over.
    assert_eq!(late.read_to_end(&mut Vec::new()).unwrap(), 0);
    eventually("it is counted", || refused("timeout") >= 1.0);
    assert_eq!(refused("timeout"), 1.0);
}
