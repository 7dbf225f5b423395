//! Servers that are not the one that is meant are refused, and the log says why.

use std::time::SystemTime;

use super::{DAY, TlsDatabase, authority};
use crate::promise::{assert_recovers, create};
use e2e::{database, eventually};

const VERIFY_FULL: &str = "sslmode=verify-full&sslrootcert={ca}";

#[test]
fn server_with_a_certificate_for_another_host_is_refused() {
    let database = TlsDatabase::new(&["other.example.com"]);
    database.assert_refused("localhost", VERIFY_FULL, "not valid for name \"localhost\"");
}

#[test]
fn server_whose_certificate_another_ca_signed_is_refused() {
    let database = TlsDatabase::new(&["localhost"]);
    // Of the same name, so that only the signature tells.
    database.show_certificate(&authority("CA of the database"), &["localhost"]);
    for options in [
        VERIFY_FULL,
        "sslmode=verify-ca&sslrootcert={ca}",
        "sslmode=require&sslrootcert={ca}",
    ] {
        database.assert_refused("localhost", options, "invalid peer certificate");
    }
    database.start_users("localhost", "sslmode=require", &[]);
}

#[test]
fn server_whose_certificate_has_expired_is_refused() {
    let database = TlsDatabase::new(&["localhost"]);
    let now = SystemTime::now();
    let expired = database
        .ca
        .issue_with_validity(&["localhost"], now - 2 * DAY..now - DAY)
        .unwrap();
    database
        .server
        .use_certificate(&expired.cert, &expired.key)
        .unwrap();
    for options in [VERIFY_FULL, "sslmode=verify-ca&sslrootcert={ca}"] {
        database.assert_refused("localhost", options, "expired");
    }
}

#[test]
fn ca_is_replaced_while_the_service_runs() {
    let database = TlsDatabase::new(&["localhost"]);
    let mut system = database.start_system(VERIFY_FULL, &[]);
    assert_recovers(&system, "first");

    let second = authority("second CA");
    database.show_certificate(&second, &["localhost"]);
    database::terminate_others(&mut system.sql()).unwrap();
    eventually("the new certificate is refused", || {
        create(&system, &format!("refused{}", fastrand::u32(..))) == 503
    });
    system.users.wait_for("UnknownIssuer");

    database.trust(&second.cert);
    system.http.wait_until_ready();
    assert_recovers(&system, "second");
    assert!(database.is_encrypted());
}
