//! HTTP clients that ask for much and never read it.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use service_runtime::workers::raise_open_files_limit;

use super::serve_promptly;
use e2e::System;

#[test]
#[cfg_attr(
    not(has_many_open_files),
    ignore = "needs 11,000 open files: ulimit -Hn"
)]
fn thousand_clients_that_never_read_cost_little_memory_and_are_gone_in_time() {
    raise_open_files_limit();
    let system = System::start();
    let before = system.gateway.peak_memory();
    // 6 MB, which is more than the buffers on the way take.
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(4);
    let connect = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", system.http.port())).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        stream
    };
    let start = Instant::now();
    let mut deaf: Vec<TcpStream> = (0..1_000).map(connect).collect();
    serve_promptly(&system, "deaf");

    while !deaf.is_empty() {
        let left = deaf.len();
        assert!(start.elapsed() < Duration::from_secs(30), "{left} are left");
        thread::sleep(Duration::from_millis(100));
        deaf.retain(|stream| stream.take_error().unwrap().is_none());
    }
    let grown = system.gateway.peak_memory() - before;
    println!("{grown} MB, gone after {:?}", start.elapsed());
    assert!(grown <= 40, "{grown} MB");
}
