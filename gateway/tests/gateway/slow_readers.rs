//! What clients get that read responses slowly, or not at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::raw::{connect, start};
use crate::support::Gateway;

/// The script of the page at /docs, of 1.5 MB, more often than buffers in the kernel can take.
fn ask_for_much(gateway: &Gateway) -> TcpStream {
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut stream = connect(gateway);
    stream.write_all(request.repeat(8).as_bytes()).unwrap();
    stream
}

/// Reads at a rate, and returns after how long the gateway resets the connection; `None`: not within `limit`.
fn reset_after(
    stream: &mut TcpStream,
    bytes_per_second: usize,
    limit: Duration,
) -> Option<Duration> {
    let start = Instant::now();
    let mut buffer = vec![0; bytes_per_second / 10];
    while start.elapsed() < limit {
        if stream.take_error().unwrap().is_some() {
            return Some(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100));
        if !buffer.is_empty() && stream.read_exact(&mut buffer).is_err() {
            return Some(start.elapsed());
        }
    }
    None
}

#[test]
fn client_that_reads_nothing_is_reset_after_ten_seconds() {
    let (_users, gateway) = start();
    let took = reset_after(&mut ask_for_much(&gateway), 0, Duration::from_secs(20));
    assert!(
        took.is_some_and(|took| (9..14).contains(&took.as_secs())),
        "{took:?}"
    );
}

#[test]
fn client_that_reads_a_little_now_and_then_buys_little_time() {
    let (_users, gateway) = start();
    let took = reset_after(&mut ask_for_much(&gateway), 1000, Duration::from_secs(30));
    assert!(took.is_some(), "the connection stays open");
}

#[test]
fn client_that_reads_steadily_gets_everything_however_long_it_takes() {
    let (_users, gateway) = start();
    let mut stream = ask_for_much(&gateway);
    let took = reset_after(&mut stream, 50_000, Duration::from_secs(25));
    assert_eq!(took, None);
    // And it still gets the rest.
    stream.read_exact(&mut vec![0; 8_000_000]).unwrap();
}
