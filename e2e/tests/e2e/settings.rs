//! Invalid settings stop a service at start, with an error that names the variable.

use std::path::Path;

use e2e::{Program, binary};

/// Starts a service with settings of which `variable` is bad, and checks that it says so and ends.
fn assert_refused(service: &str, settings: &[(&str, &str)], variable: &str) {
    let mut refused = Program::start(&binary(service), Path::new("/"), settings);
    assert!(!refused.ended().success(), "it starts with {settings:?}");
    refused.wait_for(variable);
    assert!(!refused.output().contains("hunter2"), "{variable}");
}

#[test]
fn bad_setting_is_refused_by_the_name_of_its_variable() {
    for (service, variable, value) in [
        ("gateway", "HTTP_ADDR", "everywhere"),
        ("gateway", "USERS_ADDR", "users-svc"),
        ("gateway", "REQUEST_TIMEOUT_MS", "5s"),
        ("gateway", "DRAIN_TIMEOUT_MS", "5s"),
        ("gateway", "MAX_IN_FLIGHT", "0"),
        ("gateway", "LOG_FORMAT", "xml"),
        ("gateway", "RUST_LOG", "a=b=c"),
        ("users-svc", "RPC_ADDR", "4001"),
        ("users-svc", "MIGRATE_ON_START", "perhaps"),
        ("users-svc", "WORKERS", "many"),
        ("users-svc", "DATABASE_POOL_SIZE", "0"),
        ("users-svc", "DATABASE_TIMEOUT_MS", "5s"),
        ("users-svc", "DRAIN_TIMEOUT_MS", "5s"),
    ] {
        let database = ("DATABASE_URL", "postgres://u:hunter2@h/d");
        assert_refused(service, &[database, (variable, value)], variable);
    }
}

#[test]
fn bad_database_url_is_refused_without_its_password() {
    let url = "postgres://u:hunter2@h:port/d";
    assert_refused("users-svc", &[("DATABASE_URL", url)], "DATABASE_URL");
}

#[test]
fn missing_database_url_is_refused_by_name() {
    assert_refused("users-svc", &[], "DATABASE_URL");
}
