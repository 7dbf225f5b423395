//! A server that says nothing, or the wrong thing, at any point of the way to an encrypted connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use super::TlsDatabase;
use crate::hung_database::assert_frozen_backend_costs_its_own_batch_only;
use crate::promise::{assert_recovers, create, settle};
use e2e::database::behind_proxy;
use e2e::proxy::{Fault, silent_server};
use e2e::{Program, binary};

const VERIFY_FULL: &str = "sslmode=verify-full&sslrootcert={ca}";

/// A server that answers the question for TLS with these bytes and says nothing else. Returns what else it was
/// sent, once the peer is gone.
fn answering(bytes: &'static [u8]) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut question = [0; 8];
        peer.read_exact(&mut question).unwrap();
        peer.write_all(bytes).unwrap();
        let mut sent = Vec::new();
        let _ = peer.read_to_end(&mut sent);
        sent
    });
    (addr, peer)
}

/// Has the users service migrate the database of this server, and returns its last line once it has failed,
/// which must not take long.
fn failed_migration(addr: SocketAddr, options: &str) -> String {
    let url = format!("postgres://u:hunter2@{addr}/d?{options}");
    let settings = [("DATABASE_URL", &*url), ("DATABASE_TIMEOUT_MS", "300")];
    let migrate = format!("exec {} migrate", binary("users-svc").display());
    let begin = Instant::now();
    let mut migrate = Program::start_shell(&migrate, &settings);
    assert_eq!(migrate.ended().code(), Some(1));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    migrate.wait_for("cannot connect to PostgreSQL")
}

#[test]
fn server_that_never_answers_the_question_for_tls_is_given_up() {
    let line = failed_migration(silent_server(), "sslmode=require");
    assert!(line.contains("timed out"), "{line}");
}

#[test]
fn server_that_agrees_to_tls_and_falls_silent_is_given_up() {
    let (addr, server) = answering(b"S");
    let line = failed_migration(addr, "sslmode=require");
    assert!(line.contains("timed out"), "{line}");
    assert_eq!(server.join().unwrap()[0], 22, "a TLS handshake has begun");
}

#[test]
fn what_is_sent_unencrypted_before_the_handshake_is_no_answer() {
    // AuthenticationOk and ReadyForQuery, as from someone on the way (CVE-2021-23222).
    let (addr, server) = answering(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
    let line = failed_migration(addr, "sslmode=require");
    assert!(line.contains("TLS handshake"), "{line}");
    let sent = server.join().unwrap();
    assert!(!sent.windows(7).any(|bytes| bytes == b"hunter2"));
}

#[test]
fn what_does_not_speak_postgres_is_refused_as_such() {
    let (addr, _) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let line = failed_migration(addr, "sslmode=prefer");
    assert!(
        line.contains("does not answer as PostgreSQL does"),
        "{line}"
    );
}

#[test]
fn database_behind_a_network_that_swallows_everything_keeps_the_promise_over_tls() {
    let mut database = TlsDatabase::new(&["localhost"]);
    let (link, proxied) = behind_proxy(&database.server, &database.url);
    database.url = proxied;
    let system = database.start_system(VERIFY_FULL, &[]);
    assert_recovers(&system, "calm");
    assert!(database.is_encrypted());

    link.set(Fault::BlackHole);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let system = &system;
        let calls: Vec<_> = (0..8)
            .map(|i| scope.spawn(move || create(system, &format!("swallowed{i}"))))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    link.set(Fault::None);

    assert!(!statuses.contains(&201), "{statuses:?}");
    system.http.wait_until_ready();
    for (i, status) in statuses.into_iter().enumerate() {
        settle(&system, &format!("swallowed{i}"), status);
    }
    assert_recovers(&system, "healed");
}

#[test]
fn backend_that_hangs_costs_its_own_batch_only_over_tls() {
    let database = TlsDatabase::new(&["localhost"]);
    let system = database.start_system(VERIFY_FULL, &[]);
    assert_frozen_backend_costs_its_own_batch_only(&system);
}
