//! A certificate that is replaced under load.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credentials::connect_unverified;
use e2e::certificates::Certificates;
use e2e::eventually;

use super::{LIVE, SecureSystem};

const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Creates users, each on a connection of its own, until `stop`. Returns what failed.
fn create_until(
    system: &SecureSystem,
    ca: &str,
    stop: &AtomicBool,
    number: &AtomicUsize,
) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = number.fetch_add(1, Ordering::Relaxed);
        match system.create(ca, &format!("u{number}@example.com")) {
            Ok(answer) if answer.starts_with("HTTP/1.1 201") => {}
            Ok(failure) | Err(failure) => failures.push(failure),
        }
    }
    failures
}

fn wait_for_log(system: &SecureSystem, text: &str) {
    eventually(text, || system.gateway.output().contains(text));
}

#[test]
fn certificate_is_replaced_under_load_and_no_request_fails() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let (files, others) = (old.issue_for_service(), new.issue_for_service());
    let system = SecureSystem::start(&files);
    let both = format!("{}.both", old.ca());
    let authorities = [old.ca(), new.ca()].map(|ca| fs::read_to_string(ca).unwrap());
    fs::write(&both, authorities.concat()).unwrap();

    let (stop, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let create = || create_until(&system, &both, &stop, &number);
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(create)).collect();
        // For a while the key does not belong to the certificate, and the old pair stays.
        fs::copy(&others.key, &files.key).unwrap();
        wait_for_log(&system, "kept what was read before");
        fs::copy(&others.cert, &files.cert).unwrap();
        wait_for_log(&system, "read the files again");
        thread::sleep(Duration::from_millis(500));

        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert_eq!(client.join().unwrap(), Vec::<String>::new());
        }
    });
    let requests = number.into_inner();
    println!("{requests} requests");
    assert!(requests > 10, "{requests}");
    assert!(system.create(new.ca(), "after@example.com").is_ok());
}

#[test]
fn connection_goes_on_while_its_certificate_is_replaced() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let (files, others) = (old.issue_for_service(), new.issue_for_service());
    let system = SecureSystem::start(&files);
    let stream = TcpStream::connect(system.addr).unwrap();
    stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    let mut connection = connect_unverified(stream).unwrap();
    let mut is_served = || {
        connection.write_all(LIVE).unwrap();
        // Up to the end of its JSON, however many records it comes in.
        let mut response = Vec::new();
        while !response.ends_with(b"}") {
            let mut bytes = [0; 1024];
            let length = connection.read(&mut bytes).unwrap();
            assert!(length > 0, "the connection ended");
            response.extend_from_slice(&bytes[..length]);
        }
        response.starts_with(b"HTTP/1.1 200")
    };
    assert!(is_served());

    fs::copy(&others.key, &files.key).unwrap();
    fs::copy(&others.cert, &files.cert).unwrap();
    eventually("read the files again", || {
        assert!(is_served());
        system.gateway.output().contains("read the files again")
    });

    assert!(is_served());
    assert!(system.create(old.ca(), "old@example.com").is_err());
}
