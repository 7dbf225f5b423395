//! Clients that speak TLS, and others.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use credentials::connect_unverified;
use e2e::certificates::Certificates;
use e2e::{System, binary};

use super::{LIVE, SecureSystem};

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    stream
}

/// Sends `bytes`, and returns when the gateway has closed the connection.
fn closed_after(addr: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = connect(addr);
    let start = Instant::now();
    stream.write_all(bytes).unwrap();
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it stays open");
    }
    start.elapsed()
}

#[test]
fn client_that_trusts_the_authority_is_served_over_tls_and_told_to_stay_with_it() {
    let certificates = Certificates::new();
    let system = SecureSystem::start(&certificates.issue_for_service());
    let created = system.create(certificates.ca(), "jane@example.com");
    let created = created.unwrap();
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    assert!(
        created.contains("strict-transport-security: max-age="),
        "{created}"
    );
    for version in ["1.2", "1.3"] {
        let only = ["--tls-max", version, &format!("--tlsv{version}")];
        let live = system.curl(certificates.ca(), "/livez", &only).unwrap();
        assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    }

    let refused = system.create(Certificates::new().ca(), "joe@example.com");
    let refused = refused.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn healthcheck_asks_over_tls_where_the_gateway_speaks_it() {
    let certificates = Certificates::new();
    let files = certificates.issue_for_service();
    let system = SecureSystem::start(&files);
    let healthcheck = |settings: &[(&str, &str)]| {
        let mut check = Command::new(binary("gateway"));
        let check = check.arg("healthcheck").current_dir("/");
        let check = check.env("HTTP_ADDR", system.addr.to_string());
        let check = check.envs(settings.iter().copied());
        check.output().unwrap().status.success()
    };
    assert!(healthcheck(&files.of_gateway()));
    assert!(!healthcheck(&[]));
}

#[test]
fn peer_that_speaks_the_other_protocol_is_ended_at_once() {
    let secure = SecureSystem::start(&Certificates::new().issue_for_service());
    assert!(closed_after(secure.addr, LIVE) < Duration::from_secs(3));

    let plain = System::start();
    let addr = SocketAddr::from(([127, 0, 0, 1], plain.http.port()));
    let start = Instant::now();
    let mut tls = connect_unverified(connect(addr)).unwrap();
    assert!(
        tls.write_all(LIVE)
            .and_then(|()| tls.read(&mut [0; 100]))
            .is_err()
    );
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn handshake_that_does_not_come_or_does_not_end_is_given_up_after_ten_seconds() {
    let system = SecureSystem::start(&Certificates::new().issue_for_service());
    // Nothing, and the begin of a handshake record of 512 bytes.
    let begins = [&b""[..], b"\x16\x03\x01\x02\x00\x01"];
    let addr = system.addr;
    let peers = begins.map(|begin| thread::spawn(move || closed_after(addr, begin)));
    for peer in peers {
        let took = peer.join().unwrap();
        assert!((9..14).contains(&took.as_secs()), "{took:?}");
    }
}

#[test]
fn client_that_reads_nothing_over_tls_is_reset_after_ten_seconds() {
    let system = SecureSystem::start(&Certificates::new().issue_for_service());
    let stream = connect(system.addr);
    let watch = stream.try_clone().unwrap();
    let mut tls = connect_unverified(stream).unwrap();
    // The script of the page at /docs, of 1.5 MB, more often than buffers in the kernel can take.
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tls.write_all(request.repeat(8).as_bytes()).unwrap();

    let start = Instant::now();
    while watch.take_error().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "it stays open");
        thread::sleep(Duration::from_millis(100));
    }
    assert!((9..14).contains(&start.elapsed().as_secs()));
}

#[test]
fn client_that_reads_steadily_over_tls_gets_everything() {
    let certificates = Certificates::new();
    let system = SecureSystem::start(&certificates.issue_for_service());
    let quiet = ["--output", "/dev/null", "--write-out", "%{size_download}"];
    let options = [&["--limit-rate", "150k"], &quiet[..]].concat();
    let size = system.curl(certificates.ca(), "/docs/swagger-ui-bundle.js", &options);
    let size = size.unwrap();
    assert!(size.parse::<usize>().unwrap() > 1_000_000, "{size}");
}
