//! Certificates and keys that cannot be used stop the gateway at start, with the file's setting and the reason.

use std::fs;
use std::path::Path;

use e2e::certificates::Certificates;
use e2e::{Program, binary};

/// Starts a gateway, and checks that it ends and says all of `words` in one line.
fn assert_refused(settings: &[(&str, &str)], words: &[&str]) {
    let mut gateway = Program::start(&binary("gateway"), Path::new("/"), settings);
    assert!(!gateway.ended().success());
    let said = gateway.wait_for(words[0]);
    for word in words {
        assert!(said.contains(word), "{said} does not say {word}");
    }
    assert!(!gateway.output().contains("listening"));
}

#[test]
fn certificate_without_a_key_is_refused_and_so_is_a_key_without_a_certificate() {
    let certificates = Certificates::new();
    let files = certificates.issue_for_service();
    let [cert, key] = files.of_gateway();
    assert_refused(&[cert], &["HTTP_TLS_KEY must be set", "HTTP_TLS_CERT is"]);
    assert_refused(&[key], &["HTTP_TLS_CERT must be set", "HTTP_TLS_KEY is"]);
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let certificates = Certificates::new();
    let expired = certificates.issue_expired("localhost");
    assert_refused(
        &expired.of_gateway(),
        &["HTTP_TLS_CERT=", &expired.cert, "expired"],
    );

    let files = certificates.issue_for_service();
    let refuse = |words: &[&str]| assert_refused(&files.of_gateway(), words);
    fs::copy(&expired.key, &files.key).unwrap();
    refuse(&[
        "HTTP_TLS_KEY=",
        &files.key,
        "is not the key of the certificate",
    ]);
    fs::write(&files.key, "hunter2").unwrap();
    refuse(&["HTTP_TLS_KEY=", &files.key, "no private key"]);
    fs::remove_file(&files.cert).unwrap();
    refuse(&["HTTP_TLS_CERT=", &files.cert]);
}
