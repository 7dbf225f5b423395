//! Peers of the RPC port that mean no good: they cost bounded memory, and nobody else's requests.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::future::join_all;
use tokio::{
    runtime::{Builder, LocalOptions},
    task::JoinHandle,
};
use users_rpc::{transport, users_capnp::users};

use postgres_server::Server;

use e2e::System;

/// What the service may take in all, in MB, whatever its peers do.
const MEMORY: u64 = 150;

/// Sends `bytes` to the RPC port; returns how long the service keeps the connection after that.
fn send(system: &System, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(system.users_addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let start = Instant::now();
    let _ = stream.write_all(bytes);
    // It may say why before it closes.
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "the connection stays open"
        );
    }
    start.elapsed()
}

/// Runs what a peer does that speaks RPC.
fn block_on<T>(talk: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    runtime.unwrap().block_on(talk)
}

/// A connection of such a peer, and what ends with it.
async fn dial(addr: SocketAddr) -> (users::Client, JoinHandle<Result<(), capnp::Error>>) {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let mut rpc = transport::client(stream).system;
    let client = rpc.bootstrap(Side::Server);
    (client, tokio::task::spawn_local(rpc))
}

/// Creates users while something else goes on, and makes sure that each is served promptly.
fn serve_promptly(system: &System, prefix: &str) {
    for i in 0..10 {
        let start = Instant::now();
        assert_eq!(
            system
                .http
                .create(&format!("{prefix}{i}@example.com"), "A")
                .status,
            201
        );
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}

/// The start of a message of one segment with so many words.
fn header(words: u32) -> Vec<u8> {
    [0u32.to_le_bytes(), words.to_le_bytes()].concat()
}

#[test]
fn garbage_ends_its_own_connection() {
    let system = System::start();
    let random: Vec<u8> = (0..10_000).map(|_| fastrand::u8(..)).collect();
    let many_segments = [600u32.to_le_bytes(), [0; 4]].concat();
    let sixty_mib = header(60 * 1024 * 1024 / 8);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" as &[u8],
        &[0xff; 64],
        &[0; 64],
        &random,
        &many_segments,
        &sixty_mib,
    ] {
        assert!(send(&system, bytes) < Duration::from_secs(11));
    }
    let claims: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(system.users_addr).unwrap();
            stream.write_all(&sixty_mib).unwrap();
            stream
        })
        .collect();
    serve_promptly(&system, "garbage");
    drop(claims);
    assert!(
        system.users.peak_memory() < MEMORY,
        "{} MB",
        system.users.peak_memory()
    );
}

#[test]
fn silent_and_half_spoken_connections_are_closed_and_idle_links_are_not() {
    let system = System::start();
    thread::scope(|scope| {
        for bytes in [Vec::new(), header(16), header(16)[..3].to_vec()] {
            let system = &system;
            scope.spawn(move || {
                let kept = send(system, &bytes);
                assert!((9..14).contains(&kept.as_secs()), "{bytes:?}: {kept:?}");
            });
        }
        // Half a message after a whole one.
        scope.spawn(|| {
            block_on(async {
                let (client, mut ended) = dial(system.users_addr).await;
                client.health_request().send().promise.await.unwrap();
                let rest = tokio::time::timeout(Duration::from_secs(13), &mut ended).await;
                assert!(
                    rest.is_err(),
                    "a link that idles between messages was closed"
                );
                client.health_request().send().promise.await.unwrap();
            });
        });
    });
}

#[test]
fn ten_thousand_connections_cost_bounded_memory_and_nobody_else() {
    let system = System::start();
    service_runtime::workers::raise_open_files_limit();
    let start = Instant::now();
    let connect = |_| TcpStream::connect(system.users_addr).ok();
    let silent: Vec<TcpStream> = (0..9_900).map_while(connect).collect();
    // After ten seconds the first are closed, and it is not as many at once.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    if silent.len() < 9_900 {
        eprintln!(
            "PARTLY SKIPPED: this machine allows only {} open files",
            silent.len()
        );
    }
    serve_promptly(&system, "crowd");
    assert!(
        system.users.peak_memory() < MEMORY,
        "{} MB",
        system.users.peak_memory()
    );
    println!("10,000 connections: {} MB", system.users.peak_memory());
}

#[test]
fn a_flood_of_calls_is_refused_beyond_its_share() {
    let server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let system = System::start_on(server, &database, &[("MAX_IN_FLIGHT", "200")], &[]);
    let settled = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            block_on(async {
                let (client, _) = dial(system.users_addr).await;
                let calls = (0..20_000).map(|i| {
                    let mut request = client.create_user_request();
                    request.get().set_email(format!("flood{i}@example.com"));
                    request.get().set_name("Flood");
                    request.send().promise
                });
                join_all(calls.collect::<Vec<_>>())
                    .await
                    .iter()
                    .flatten()
                    .count()
            })
        });
        serve_promptly(&system, "flood-beside");
        flood.join().unwrap()
    });
    assert!(
        (1..20_000).contains(&settled),
        "{settled} of 20,000 were let through"
    );
    assert_eq!(system.rows(), i64::try_from(settled).unwrap() + 10);
    assert!(
        system.users.peak_memory() < MEMORY,
        "{} MB",
        system.users.peak_memory()
    );
}

#[test]
fn a_peer_that_never_reads_stalls_itself() {
    let system = System::start();
    let said = conversation(200_000);
    let mut stream = TcpStream::connect(system.users_addr).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut pushed = 0;
    while pushed < said.len() {
        match stream.write(&said[pushed..]) {
            Ok(n) => pushed += n,
            Err(_) => break,
        }
    }
    assert!(
        pushed < said.len(),
        "the service read all {pushed} bytes of a peer that reads nothing"
    );
    serve_promptly(&system, "beside");
    assert!(
        system.users.peak_memory() < MEMORY,
        "{} MB",
        system.users.peak_memory()
    );
}

/// What a client says that calls so many times, recorded by a listener that never answers.
fn conversation(calls: usize) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let recorder = thread::spawn(move || {
        let mut said = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut said).unwrap();
        said
    });
    block_on(async {
        let (client, _) = dial(addr).await;
        let mut unanswered = Vec::new();
        for call in 0..calls {
            unanswered.push(client.get_user_request().send().promise);
            if call % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    recorder.join().unwrap()
}

#[test]
fn a_gateway_out_of_file_descriptors_serves_on_when_some_are_free_again() {
    let system = System::start();
    let program = e2e::binary("gateway");
    let script = format!("ulimit -n 64; exec {}", program.display());
    let users = system.users_addr.to_string();
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users)];
    let mut gateway = e2e::Program::start_shell(&script, &settings);
    let http = e2e::Http::new(gateway.addr().port());
    http.wait_until_ready();
    let greedy: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(("127.0.0.1", http.port())).unwrap())
        .collect();
    gateway.wait_for("cannot accept");
    drop(greedy);
    http.wait_until_ready();
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 201);
}

#[test]
fn calls_that_are_given_up_end_their_connection_before_they_fill_the_memory() {
    let system = System::start();
    // Reads wait, so that there is something to give up.
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();
    block_on(async {
        let (client, ended) = dial(system.users_addr).await;
        let mut given_up = 0;
        while !ended.is_finished() {
            assert!(given_up < 100_000, "the connection is still there");
            let call = |_| {
                let mut request = client.get_user_request();
                request.get().set_id("0190a3f4-7c3e-7cc8-a1b2-0242ac120002");
                request.send()
            };
            let calls: Vec<_> = (0..100).map(call).collect();
            given_up += calls.len();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(given_up >= 10_000, "only after {given_up}");
    });
    transaction.rollback().unwrap();
    serve_promptly(&system, "beside");
}
