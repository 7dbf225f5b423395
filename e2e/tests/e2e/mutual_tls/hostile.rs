//! Peers that never finish what they begin, below the messages.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::certificates::Certificates;
use e2e::rpc::{self, block_on};
use e2e::{Program, eventually};
use nix::sys::signal::Signal;
use service_runtime::workers::raise_open_files_limit;

use super::system;

/// The first bytes of a handshake record that claims the 16 KiB that it may have.
const BEGUN_HANDSHAKE: [u8; 9] = [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];

/// How long the service keeps a connection open that says no more.
fn time_to_close(mut stream: &TcpStream) -> Duration {
    let begin = Instant::now();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    begin.elapsed()
}

#[test]
fn handshake_that_is_not_finished_ends_with_the_time_for_a_first_message() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    let mut begun = TcpStream::connect(system.users_addr).unwrap();
    begun.write_all(&BEGUN_HANDSHAKE).unwrap();
    let silent = TcpStream::connect(system.users_addr).unwrap();
    let took = time_to_close(&begun).max(time_to_close(&silent));
    assert!((9..12).contains(&took.as_secs()), "{took:?}");
}

#[test]
#[cfg_attr(
    not(has_many_open_files),
    ignore = "needs 11,000 open files: ulimit -Hn"
)]
fn ten_thousand_begun_handshakes_cost_bounded_memory_and_nobody_else() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    raise_open_files_limit();
    let before = system.users.peak_memory();
    let mut record = BEGUN_HANDSHAKE.to_vec();
    record.resize(15_000, 0);
    let handshake = |_| {
        let mut stream = TcpStream::connect(system.users_addr).unwrap();
        // One that has been closed already takes no more.
        let _ = stream.write_all(&record);
        stream
    };
    let begun: Vec<TcpStream> = (0..9_900).map(handshake).collect();
    let last = Instant::now();
    // A build without optimization needs seconds of processor time to read all that.
    eventually("a user is created beside them", || {
        let created = system
            .http
            .create_with_key("jane@example.com", "Jane", "once");
        created.status == 201
    });
    let took = last.elapsed();
    println!("served after {took:?}");
    assert!(took < Duration::from_secs(9), "only when they were over");
    drop(begun);
    let grew = system.users.peak_memory() - before;
    println!("grew by {grew} MB");
    assert!(grew < 256, "{grew} MB");
}

#[test]
fn peer_that_is_killed_without_a_farewell_is_a_lost_link_and_costs_no_request() {
    let certificates = Certificates::new();
    let mut system = system(&certificates);
    let addr = system.users_addr.to_string();
    system.users.signal(Signal::SIGKILL);
    let lost = system.gateway.wait_for("lost a users service");
    assert!(!lost.contains("PrematureEndOfFile"), "{lost}");

    let service = certificates.issue_for_service();
    let _again: Program = e2e::spawn_users(&addr, &system.database, &service.of_service());
    eventually("the gateway's calls are carried out again", || {
        system.http.create("jane@example.com", "Jane").status == 201
    });
}

#[test]
fn idle_connections_cost_bounded_memory() {
    const CONNECTIONS: usize = 400;
    let certificates = Certificates::new();
    let system = system(&certificates);
    raise_open_files_limit();
    let caller = certificates.issue("caller");
    let before = system.users.peak_memory();
    block_on(async {
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            let connected = rpc::connect_with_tls(system.users_addr, "localhost", &caller).await;
            let (users, ended) = connected.unwrap();
            users.health_request().send().promise.await.unwrap();
            idle.push((users, ended));
        }
        let grew = (system.users.peak_memory() - before) * 1024;
        let each = grew / u64::try_from(CONNECTIONS).unwrap();
        println!("{each} KiB for each");
        assert!(each < 32, "{each} KiB for each");
    });
}
