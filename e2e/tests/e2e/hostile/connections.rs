//! Peers that open as many connections as they can.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use service_runtime::workers::raise_open_files_limit;

use super::{assert_memory_is_bounded, serve_promptly};
use e2e::{Http, Program, System, binary};

#[test]
#[cfg_attr(
    not(has_many_open_files),
    ignore = "needs 11,000 open files: ulimit -Hn"
)]
fn ten_thousand_connections_cost_bounded_memory_and_nobody_else() {
    let system = System::start();
    raise_open_files_limit();
    let start = Instant::now();
    let connect = |_| TcpStream::connect(system.users_addr).unwrap();
    let silent: Vec<TcpStream> = (0..9_900).map(connect).collect();
    // After ten seconds the first are closed, and it is not as many at once.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    serve_promptly(&system, "crowd");
    drop(silent);
    assert_memory_is_bounded(&system);
}

/// A gateway that may open 64 files.
fn gateway_of_few_files(system: &System) -> (Program, Http) {
    let script = format!("ulimit -n 64; exec {}", binary("gateway").display());
    let users = system.users_addr.to_string();
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users)];
    let mut gateway = Program::start_shell(&script, &settings);
    let http = Http::new(gateway.addr().port());
    http.wait_until_ready();
    (gateway, http)
}

#[test]
fn gateway_out_of_file_descriptors_serves_when_some_are_free_again() {
    let system = System::start();
    let (mut gateway, http) = gateway_of_few_files(&system);

    let connect = |_| TcpStream::connect(("127.0.0.1", http.port())).unwrap();
    let greedy: Vec<TcpStream> = (0..100).map(connect).collect();
    gateway.wait_for("cannot accept");
    drop(greedy);

    http.wait_until_ready();
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 201);
}

/// Clients keep their connections for 75 s, and longer with a request now and then: a new one cannot wait for that.
#[test]
fn idle_connections_make_room_when_file_descriptors_run_out() {
    let system = System::start();
    let (mut gateway, http) = gateway_of_few_files(&system);

    let start = Instant::now();
    let is_answered = |stream: &mut TcpStream, limit| {
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.read(&mut [0; 1024]).is_ok_and(|length| length > 0)
    };
    let mut idle = Vec::new();
    let mut waiting = loop {
        let mut stream = TcpStream::connect(("127.0.0.1", http.port())).unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
            .unwrap();
        if !is_answered(&mut stream, Duration::from_secs(5)) {
            break stream;
        }
        idle.push(stream);
        assert!(idle.len() < 64);
    };
    gateway.wait_for("cannot accept");

    assert!(is_answered(&mut waiting, Duration::from_secs(30)));
    // Not before the others have been idle for ten seconds.
    let took = start.elapsed();
    assert!(took > Duration::from_secs(9), "{took:?}");
}
