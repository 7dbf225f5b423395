//! Bytes that are no messages, messages that are never finished, and connections that say nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::raw::abort;
use super::{assert_memory_is_bounded, serve_promptly};
use e2e::rpc::block_on;
use e2e::{System, rpc};

/// Sends `bytes` to the RPC port; returns how long the service keeps the connection after that.
fn send(addr: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(addr).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    let start = Instant::now();
    let _ = stream.write_all(bytes);
    // It may say why before it closes.
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        let reset = ErrorKind::ConnectionReset;
        assert_eq!(error.kind(), reset, "the connection stays open");
    }
    start.elapsed()
}

/// The start of a message of one segment with so many words.
fn header(words: u32) -> Vec<u8> {
    [0u32.to_le_bytes(), words.to_le_bytes()].concat()
}

const SIXTY_MIB: u32 = 60 * 1024 * 1024 / 8;

#[test]
fn garbage_ends_its_own_connection() {
    let system = System::start();
    let random: Vec<u8> = (0..10_000).map(|_| fastrand::u8(..)).collect();
    let many_segments = [600u32.to_le_bytes(), [0; 4]].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" as &[u8],
        &[0xff; 64],
        &[0; 64],
        &random,
        &many_segments,
        &header(SIXTY_MIB),
    ] {
        let kept = send(system.users_addr, bytes);
        assert!(kept < Duration::from_secs(11), "{bytes:?}: {kept:?}");
    }
    serve_promptly(&system, "after");
    assert_memory_is_bounded(&system);
}

#[test]
fn claims_of_large_messages_cost_no_memory() {
    let system = System::start();
    let claim = |_| {
        let mut stream = TcpStream::connect(system.users_addr).unwrap();
        stream.write_all(&header(SIXTY_MIB)).unwrap();
        stream
    };
    let claims: Vec<TcpStream> = (0..100).map(claim).collect();
    serve_promptly(&system, "beside");
    drop(claims);
    assert_memory_is_bounded(&system);
}

#[test]
fn silent_and_half_spoken_connections_are_closed_after_ten_seconds() {
    let system = System::start();
    let addr = system.users_addr;
    thread::scope(|scope| {
        for bytes in [Vec::new(), header(16), header(16)[..3].to_vec()] {
            scope.spawn(move || {
                let kept = send(addr, &bytes);
                assert!((9..14).contains(&kept.as_secs()), "{bytes:?}: {kept:?}");
            });
        }
    });
}

#[test]
fn reason_of_an_abort_is_logged_as_one_short_line_and_not_for_each_connection() {
    let mut system = System::start();
    let reason = format!("no\nWARN forged\u{1b}[2J{}", "x".repeat(100_000));
    for _ in 0..200 {
        send(system.users_addr, &abort(&reason));
    }

    let line = system.users.wait_for("ended an RPC connection");
    assert!(
        line.len() < 500 && line.contains(r"no\u000aWARN forged\u001b[2J"),
        "{line}"
    );
    let lines = system.users.output();
    let ended = lines.matches("ended an RPC connection").count();
    assert!(ended < 50, "{ended} lines");
}

#[test]
fn link_that_idles_between_messages_is_kept() {
    let system = System::start();
    block_on(async {
        let (client, mut ended) = rpc::connect(system.users_addr).await;
        client.health_request().send().promise.await.unwrap();
        let rest = timeout(Duration::from_secs(13), &mut ended).await;
        assert!(rest.is_err(), "the idle link was closed");
        client.health_request().send().promise.await.unwrap();
    });
}
