//! What each `sslmode` accepts, and whether the connection is encrypted then.

use postgres_server::Server;

use super::{TlsDatabase, assert_not_ready};
use crate::promise::assert_recovers;
use e2e::{database, free_addr, start_users};

#[test]
fn every_mode_encrypts_but_disable() {
    // The modes that check no name connect by one that the certificate does not have.
    let database = TlsDatabase::new(&["localhost"]);
    for (host, options, encrypts) in [
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=disable", false),
        ("127.0.0.1", "sslmode=prefer", true),
        ("127.0.0.1", "sslmode=require", true),
        ("127.0.0.1", "sslmode=require&sslrootcert={ca}", true),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={ca}", true),
        ("localhost", "sslmode=verify-full&sslrootcert={ca}", true),
    ] {
        let mut users = database.start_users(host, options, &[]);
        assert_eq!(database.is_encrypted(), encrypts, "{options}");
        users.stop();
    }
}

#[test]
fn verify_full_checks_addresses_and_the_host_that_belongs_to_a_hostaddr() {
    let database = TlsDatabase::new(&["127.0.0.1", "db.example.com"]);
    let verify = "sslmode=verify-full&sslrootcert={ca}";
    database.start_users("127.0.0.1", verify, &[]);
    database.start_users(
        "db.example.com",
        &format!("{verify}&hostaddr=127.0.0.1"),
        &[],
    );
    database.assert_refused(
        "other.example.com",
        &format!("{verify}&hostaddr=127.0.0.1"),
        "not valid for name",
    );
}

#[test]
fn key_value_pairs_say_the_same_as_a_url() {
    let database = TlsDatabase::new(&["localhost"]);
    let password = database.url.split([':', '@']).nth(2).unwrap();
    let name = database.url.rsplit('/').next().unwrap();
    let dsn = format!(
        "host=localhost port={} user=postgres password='{password}' dbname={name} \
         sslmode = 'verify-full' sslrootcert='{}'",
        database.server.port(),
        database.ca_file().display()
    );
    let _users = start_users(&free_addr(), &dsn, &[]);
    assert!(database.is_encrypted());
}

#[test]
fn system_means_the_cas_that_this_machine_trusts() {
    let database = TlsDatabase::new(&["localhost"]);
    let system = "sslmode=verify-full&sslrootcert=system";
    let cas = database.ca_file();
    let trusts = [("SSL_CERT_FILE", cas.to_str().unwrap())];
    database.start_users("localhost", system, &trusts);
    database.assert_refused("localhost", system, "UnknownIssuer");
}

#[test]
fn server_without_tls_serves_prefer_and_no_stricter_mode() {
    let server = Server::temporary().unwrap();
    let url = server.fresh_database().unwrap();
    for options in ["", "?sslmode=prefer", "?sslmode=disable"] {
        start_users(&free_addr(), &format!("{url}{options}"), &[]);
    }
    assert_not_ready(
        &format!("{url}?sslmode=require"),
        "the server does not speak TLS",
    );
}

#[test]
fn connection_that_leaves_this_machine_in_plain_text_is_warned_about_unless_it_is_meant() {
    let url = database::fresh_database().replace("127.0.0.1", "db.example.com");
    let url = format!("{url}?hostaddr=127.0.0.1");
    let mut users = start_users(&free_addr(), &url, &[]);
    let line = users.wait_for("plain text");
    assert!(
        line.contains("WARN") && line.contains("db.example.com"),
        "{line}"
    );

    let users = start_users(&free_addr(), &format!("{url}&sslmode=disable"), &[]);
    assert!(!users.output().contains("plain text"), "{}", users.output());
}

#[test]
fn channel_binding_can_be_required_over_tls_and_only_there() {
    let database = TlsDatabase::new(&["localhost"]);
    let binding = "sslmode=verify-full&sslrootcert={ca}&channel_binding=require";
    let system = database.start_system(binding, &[]);
    assert!(database.is_encrypted());
    assert_recovers(&system, "bound");
    let unbound = "sslmode=disable&channel_binding=require";
    database.assert_refused("localhost", unbound, "server did not use channel binding");
}
