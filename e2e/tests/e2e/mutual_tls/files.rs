//! Files that cannot be used: refused at start by name and reason, and later not taken.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::certificates::{Certificates, TlsFiles};
use e2e::{Program, binary, eventually};

use super::system;

/// Starts a users service with these files, which must be refused by what is wrong with one of them.
fn assert_refused(tls: &TlsFiles, variable: &str, file: &str, reason: &str) {
    let database = [("DATABASE_URL", "host=127.0.0.1 user=u")];
    let settings = [&database[..], &tls.of_service()].concat();
    let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
    assert!(!users.ended().success());
    let said = users.wait_for(&format!("{variable}={file}: "));
    assert!(said.contains(reason), "{said}: {reason}");
    assert!(!said.contains("PRIVATE KEY-----"), "{said}");
}

#[test]
fn certificate_that_cannot_be_used_is_refused_by_name_and_reason() {
    let certificates = Certificates::new();
    let good = certificates.issue_for_service();
    let refuse = |cert: &str, reason| {
        let mut bad = good.clone();
        cert.clone_into(&mut bad.cert);
        assert_refused(&bad, "RPC_TLS_CERT", cert, reason);
    };
    let empty = format!("{}.empty", good.cert);
    fs::write(&empty, "").unwrap();

    refuse(&format!("{}.missing", good.cert), "No such file");
    refuse(
        Path::new(&good.cert).parent().unwrap().to_str().unwrap(),
        "not a regular file",
    );
    refuse(&empty, "no certificate in PEM");
    refuse(&good.key, "no certificate in PEM");
    let expired = certificates.issue_expired("service");
    assert_refused(
        &expired,
        "RPC_TLS_CERT",
        &expired.cert,
        "its certificate expired at ",
    );
}

#[test]
fn key_that_cannot_be_used_is_refused_by_name_and_reason() {
    let certificates = Certificates::new();
    let good = certificates.issue_for_service();
    let refuse = |key: &str, reason| {
        let mut bad = good.clone();
        key.clone_into(&mut bad.key);
        assert_refused(&bad, "RPC_TLS_KEY", key, reason);
    };
    refuse(&good.cert, "no private key in PEM");
    let other = certificates.issue("other");
    refuse(&other.key, "not the key of the certificate in RPC_TLS_CERT");
}

#[test]
fn ca_that_cannot_be_used_is_refused_by_name_and_reason() {
    let certificates = Certificates::new();
    let good = certificates.issue_for_service();
    let refuse = |ca: &str, reason| {
        let mut bad = good.clone();
        ca.clone_into(&mut bad.ca);
        assert_refused(&bad, "RPC_TLS_CA", ca, reason);
    };
    refuse(&good.cert, "not a CA's");
    refuse(&good.key, "no certificate in PEM");
}

#[test]
fn part_of_the_files_is_refused_by_the_name_of_what_is_missing() {
    let certificates = Certificates::new();
    let service = certificates.issue_for_service();
    let database = ("DATABASE_URL", "host=127.0.0.1 user=u");
    for (settings, missing) in [
        (vec![service.of_service()[0]], "RPC_TLS_KEY must be set too"),
        (
            service.of_service()[..2].to_vec(),
            "RPC_TLS_CA must be set too",
        ),
        (
            vec![("RPC_READERS", "reader")],
            "RPC_READERS needs RPC_TLS_CERT",
        ),
        (vec![("RPC_READERS", "a,,b")], "for example RPC_READERS="),
    ] {
        let settings = [&settings[..], &[database]].concat();
        let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
        assert!(!users.ended().success());
        users.wait_for(missing);
    }
    let mut gateway = Program::start(
        &binary("gateway"),
        Path::new("/"),
        &service.of_caller()[1..],
    );
    assert!(!gateway.ended().success());
    gateway.wait_for("USERS_TLS_CERT must be set too");
}

#[test]
fn certificate_and_key_may_be_one_file() {
    let certificates = Certificates::new();
    let mut service = certificates.issue_for_service();
    let both =
        fs::read_to_string(&service.key).unwrap() + &fs::read_to_string(&service.cert).unwrap();
    fs::write(&service.cert, both).unwrap();
    service.key = service.cert.clone();
    let gateway = certificates.issue("gateway");
    let system = e2e::System::start_with(&service.of_service(), &gateway.of_caller());
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
}

#[test]
fn pair_that_does_not_match_yet_keeps_the_old_one() {
    let certificates = Certificates::new();
    let mut system = system(&certificates);
    let service = certificates.issue_for_service();
    // Only the key is there of the next pair.
    let next = certificates.issue("next");
    let key = fs::read(&service.key).unwrap();
    fs::copy(&next.key, &service.key).unwrap();

    let said = system.users.wait_for("kept what was read before");
    assert!(
        said.contains(&format!("RPC_TLS_KEY={}", service.key)),
        "{said}"
    );
    let gateway = certificates.issue("gateway");
    assert_eq!(super::create(&system, "localhost", &gateway), Ok(()));

    fs::write(&service.key, key).unwrap();
    system.users.wait_for("read the files again");
}

#[test]
fn certificate_that_is_not_valid_yet_is_used_when_it_is() {
    let certificates = Certificates::new();
    let mut system = system(&certificates);
    // A certificate says it in whole seconds.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let begin = UNIX_EPOCH + Duration::from_secs(now.as_secs() + 5);
    certificates.issue_with_validity(
        "service",
        &["localhost"],
        begin..begin + Duration::from_secs(60),
    );
    system.users.wait_for("is not valid before");
    system.users.wait_for("read the files again");
    assert!(SystemTime::now() >= begin);
    let gateway = certificates.issue("gateway");
    assert_eq!(super::create(&system, "localhost", &gateway), Ok(()));
}

#[test]
fn ca_that_has_expired_is_trusted_no_more() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    let has_read = |times: usize| {
        let output = system.users.output();
        output.matches("read the files again").count() == times
    };
    // Its time begins when the system runs: to start one may take long.
    let old = Certificates::of_authority_for(Duration::from_secs(10));
    let both =
        fs::read_to_string(certificates.ca()).unwrap() + &fs::read_to_string(old.ca()).unwrap();
    fs::write(certificates.ca(), both).unwrap();
    eventually("both CAs are read", || has_read(1));
    let mut caller = old.issue("gateway");
    caller.ca = certificates.ca().to_owned();
    assert_eq!(super::create(&system, "localhost", &caller), Ok(()));

    eventually("one has expired", || has_read(2));
    let refused = super::create(&system, "localhost", &caller).unwrap_err();
    assert!(refused.contains("fatal alert"), "{refused}");
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
}
