//! Every client over mutual TLS: whom it lets in, who lets it in, and what a reader may do.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use e2e::certificates::Certificates;
use e2e::root;
use serde_json::{Value, json};

use super::client::{Client, output_of};
use super::service::{Service, User};
use super::toolchains::python;

/// Time that a call to a service has that does not let the client in.
const TIMEOUT: Duration = Duration::from_secs(2);

pub fn calls_over_mutual_tls_have_their_outcomes(client: &Client) {
    let certificates = Certificates::new();
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let client = client.with_tls(&certificates.issue("gateway"));
    let (addr, user) = (&service.named_addr(), User::new());
    let create = || client.create(addr, &user.id, &user.email, user.name);

    assert_outcome(create(), 0, "created");
    assert_outcome(create(), 0, "replayed");
    assert_outcome(client.run(addr, &["get", &user.id]), 0, "found");
    assert_outcome(client.run(addr, &["list"]), 0, "page");
}

pub fn certificate_that_the_service_does_not_accept_is_unavailable(client: &Client) {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let mut stranger = others.issue("gateway");
    certificates.ca().clone_into(&mut stranger.ca);

    assert_unavailable(&client.with_tls(&stranger), &service, "certificate");
    assert_unavailable(client, &service, "TLS");
}

pub fn expired_certificate_is_not_accepted(client: &Client) {
    let certificates = Certificates::new();
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let expired = certificates.issue_expired("gateway");
    let client = client.with_tls(&expired);

    if client.checks_its_own_certificate {
        let output = client
            .command(&service.named_addr())
            .arg("list")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            error.contains(&expired.cert) && error.contains("expired"),
            "{error}"
        );
    } else {
        assert_unavailable(&client, &service, &expired.cert);
    }
}

pub fn service_that_the_client_does_not_accept_is_unavailable(client: &Client) {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let gateway = client.with_tls(&certificates.issue("gateway"));

    let of_another_name = Service::start_with_tls(&certificates.issue("elsewhere.example.com"));
    assert_unavailable(&gateway, &of_another_name, "certificate");

    // It would let the client in.
    let [ours, theirs] = [&certificates, &others].map(|all| fs::read(all.ca()).unwrap());
    fs::write(others.ca(), [ours, theirs].concat()).unwrap();
    let of_another_ca = Service::start_with_tls(&others.issue_for_service());
    assert_unavailable(&gateway, &of_another_ca, "certificate");

    assert_unavailable(&gateway, &Service::start(), "");
}

pub fn reader_reads_and_does_not_create(client: &Client) {
    let certificates = Certificates::new();
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let reader = client.with_tls(&certificates.issue("reader"));
    let user = service.with_user();
    let addr = &service.named_addr();

    let new = User::new();
    let created = reader.create(addr, &new.id, &new.email, new.name);
    assert_outcome(created, 6, "unimplemented");
    assert_eq!(service.rows_of(&new.email), 0);

    let reads = [
        (&["get", &user.id][..], "found"),
        (&["find", &user.email], "found"),
        (&["list"], "page"),
    ];
    for (words, outcome) in reads {
        let read = reader.run(addr, words);
        if client.knows_directories {
            assert_outcome(read, 0, outcome);
        } else {
            assert_outcome(read, 6, "unimplemented");
        }
    }
}

pub fn replaced_certificate_is_shown_without_a_restart(client: &Client) {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let user = service.with_user();
    let (gateway, stranger) = (certificates.issue("gateway"), others.issue("gateway"));
    fs::copy(&stranger.cert, &gateway.cert).unwrap();
    fs::copy(&stranger.key, &gateway.key).unwrap();
    let mut session = client.with_tls(&gateway).session(&service.named_addr());
    assert_eq!(session.get(&user.id), "unavailable");

    certificates.issue("gateway"); // Into the same files.

    let end = Instant::now() + Duration::from_secs(20);
    while session.get(&user.id) != "found" {
        assert!(Instant::now() < end, "it shows the old certificate");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn reader_reaches_nothing_but_reads_by_raw_messages() {
    let certificates = Certificates::new();
    let service = Service::start_with_tls(&certificates.issue_for_service());
    let reader = certificates.issue("reader");
    let (_, port) = service.addr.rsplit_once(':').unwrap();

    let mut script = Command::new(python());
    script.arg(root().join("e2e/clients/raw_reader.py"));
    script.args(["localhost", port]);
    script.arg(root().join("schema/users.capnp"));
    let output = script
        .args([&reader.cert, &reader.key, &reader.ca])
        .output();

    let output = output.unwrap();
    let expected = [
        "Users createUser unimplemented",
        "Users getUser unimplemented",
        "Users listUsers unimplemented",
        "Users health unimplemented",
        "Users findUser unimplemented",
        "Users directory unimplemented",
        "Users createUsers unimplemented",
        "Users create unimplemented",
        "UserDirectory 0 answered",
        "UserDirectory 1 answered",
        "UserDirectory 2 answered",
        "UserDirectory 3 unimplemented",
        "UserDirectory 4 unimplemented",
        "UserDirectory 5 unimplemented",
        "UserDirectory 6 unimplemented",
    ];
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{error}");
    assert_eq!(service.rows_of("intruder@example.com"), 0);
}

fn assert_outcome((status, printed): (i32, Value), expected: i32, outcome: &str) {
    assert_eq!(
        (status, &printed["outcome"]),
        (expected, &json!(outcome)),
        "{printed}"
    );
}

/// Checks that calls end as `unavailable` in time, say why by a text with `reason`, and write nothing.
fn assert_unavailable(client: &Client, service: &Service, reason: &str) {
    let user = User::new();
    let begin = Instant::now();

    let mut create = client.command_with_timeout(&service.named_addr(), TIMEOUT);
    create.args(["create", "--email", &user.email, "--name", user.name]);
    let (status, printed) = output_of(&mut create);

    // Starting a program takes a while on a machine that is busy.
    let took = begin.elapsed();
    assert!(took < TIMEOUT + Duration::from_secs(2), "{took:?}");
    assert_eq!((status, &printed["outcome"]), (4, &json!("unavailable")));
    let detail = printed["detail"].as_str().unwrap();
    assert!(detail.contains(reason), "no {reason:?} in {detail:?}");
    assert_eq!(service.rows_of(&user.email), 0);
}
