//! Services that cannot be reached: which address, and why.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::certificates::Certificates;
use e2e::{binary, database, free_addr, start_users};
use users_conformance::Step;

use super::{Ended, Service, users_cli};
use crate::clients::conformance as scripted;

#[test]
fn every_address_that_failed_is_named_with_its_reason() {
    let closed = free_addr();
    // Accepts connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap().to_string(), silent);
    let addresses = format!("{closed},{},no-such-host.invalid:4001", silent.0);

    let ended = Ended::of(&mut users_cli(&addresses, &["list"]));

    assert_eq!(ended.status, Some(4));
    for expected in [
        "unavailable, nothing was written",
        &format!("{closed}: Connection refused"),
        &format!("{}: it ", silent.0),
        "no-such-host.invalid:4001: ",
    ] {
        assert!(
            ended.error.contains(expected),
            "no {expected:?} in {}",
            ended.error
        );
    }
}

#[test]
fn name_is_shown_with_its_address_and_tls_with_its_fault() {
    let service = Service::with_users(0);
    let (_, port) = service.addr.rsplit_once(':').unwrap();
    let certificates = Certificates::new();
    let files = certificates.issue("gateway");
    let words = [
        "--tls-cert",
        &files.cert,
        "--tls-key",
        &files.key,
        "--tls-ca",
        &files.ca,
        "list",
    ];

    let ended = Ended::of(&mut users_cli(&format!("localhost:{port}"), &words));

    let expected = format!("localhost:{port} (127.0.0.1): TLS: ");
    assert!(ended.error.contains(&expected), "{}", ended.error);
    assert_eq!(ended.status, Some(4));
}

#[test]
fn answer_that_never_came_is_told_with_the_address() {
    let addr = scripted::start(&[Step::Hangs]);

    let create = [
        "--timeout-ms",
        "500",
        "create",
        "--email",
        "a@b.io",
        "--name",
        "A",
    ];
    let ended = Ended::of(&mut users_cli(&addr, &create));

    assert_eq!(ended.status, Some(5));
    let expected = format!("the outcome is unknown: {addr}: no answer in time");
    assert!(ended.error.contains(&expected), "{}", ended.error);
}

#[test]
fn import_that_waits_says_for_what_and_that_it_goes_on() {
    let addr = free_addr();
    let mut import = users_cli(&addr, &["import", "-"]);
    import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut import = import.spawn().unwrap();
    let rows = b"email,name\na@example.com,A\n";
    import.stdin.take().unwrap().write_all(rows).unwrap();
    let mut lines = BufReader::new(import.stderr.take().unwrap()).lines();

    let waits = lines.next().unwrap().unwrap();
    let database = database::fresh_database();
    let _service = start_users(&addr, &database, &[]);

    let expected = format!("cannot be reached: {addr}: Connection refused");
    assert!(
        waits.starts_with("users-cli: waiting for the users service: "),
        "{waits}"
    );
    assert!(waits.contains(&expected), "{waits}");
    let goes_on = lines.next().unwrap().unwrap();
    assert_eq!(goes_on, "users-cli: the import goes on");
    assert_eq!(import.wait().unwrap().code(), Some(0));
    assert_eq!(database::rows(&database), 1);
}

#[test]
fn import_that_gives_up_names_the_address() {
    let addr = free_addr();
    let mut import = users_cli(&addr, &["import", "--patience", "1", "-"]);
    import
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut import = import.spawn().unwrap();
    import
        .stdin
        .take()
        .unwrap()
        .write_all(b"email,name\na@b.io,A\n")
        .unwrap();

    let output = import.wait_with_output().unwrap();

    let error = String::from_utf8(output.stderr).unwrap();
    let stopped = error
        .lines()
        .find(|line| line.contains("stopped: "))
        .unwrap();
    assert!(
        stopped.contains(&format!("{addr}: Connection refused")),
        "{stopped}"
    );
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn call_that_takes_long_says_what_it_waits_for_at_a_terminal_only() {
    let addr = scripted::start(&[Step::Hangs]);
    let words = "--timeout-ms 2500 create --email a@b.io --name A";
    let waits = "waiting for the users service: it is connected, and has not answered yet";

    // Runs it at a terminal of its own.
    let cli = binary("users-cli");
    let line = format!("{} --users-addr {addr} {words}", cli.display());
    let begin = Instant::now();
    let at_a_terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .output();
    let took = begin.elapsed();
    let words: Vec<_> = words.split(' ').collect();
    let elsewhere = Ended::of(&mut users_cli(&addr, &words));

    let shown = String::from_utf8(at_a_terminal.unwrap().stdout).unwrap();
    assert!(shown.contains(waits), "{shown}");
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(!elsewhere.error.contains("waiting"), "{}", elsewhere.error);
}
