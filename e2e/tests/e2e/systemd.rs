//! The systemd units fit the services that they start. Whether they are units at all, systemd-analyze checks.

use std::fs;
use std::time::Duration;

use clap::Parser as _;
use service_runtime::settings::ProcessSettings;

use e2e::root;

/// The value of a line of a unit.
fn value(unit: &str, name: &str) -> String {
    let path = root().join("deploy/systemd").join(unit);
    let text = fs::read_to_string(path).unwrap();
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    text.lines().find_map(value).unwrap()
}

#[test]
fn service_has_the_time_to_stop_that_its_defaults_take() {
    let gateway = gateway::Settings::parse_from(["gateway"]).process;
    let users = ["users-svc", "--database-url", "postgres://h/d"];
    let users = users_svc::Settings::parse_from(users).process;
    let takes = |settings: &ProcessSettings| settings.shutdown_delay + settings.drain_timeout;
    for (unit, settings) in [
        ("users-gateway.service", &gateway),
        ("users-svc.service", &users),
    ] {
        let seconds = value(unit, "TimeoutStopSec").parse().unwrap();
        assert!(Duration::from_secs(seconds) > takes(settings), "{unit}");
    }
}

#[test]
fn unit_starts_its_program() {
    for (unit, program) in [
        ("users-gateway.service", "gateway"),
        ("users-svc.service", "users-svc"),
        ("users-svc-migrate.service", "users-svc migrate"),
    ] {
        assert_eq!(
            value(unit, "ExecStart"),
            format!("/usr/local/bin/{program}")
        );
    }
}
