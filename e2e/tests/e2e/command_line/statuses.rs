//! The exit statuses, and how errors name what was typed.

use std::fs::File;
use std::process::Command;

use e2e::{binary, free_addr};
use users_conformance::Step;

use super::{Ended, Service, users_cli};
use crate::clients::conformance as scripted;

const CREATE: [&str; 5] = ["create", "--email", "a@example.com", "--name", "A"];

/// Runs a command against a service that answers creates by a script.
fn create_at(script: &'static [Step]) -> Ended {
    Ended::of(&mut users_cli(&scripted::start(script), &CREATE))
}

#[test]
fn every_outcome_has_its_exit_status() {
    let service = Service::with_users(0);

    assert_eq!(service.run(&CREATE).status, Some(0));
    assert_eq!(service.run(&["import", "no-such-file.csv"]).status, Some(1));
    assert_eq!(service.run(&["list", "--no-such-option"]).status, Some(2));
    assert_eq!(service.run(&["get", "x"]).status, Some(3));
    assert_eq!(
        Ended::of(&mut users_cli(&free_addr(), &CREATE)).status,
        Some(4)
    );
    assert_eq!(create_at(&[Step::Fails]).status, Some(5));
    assert_eq!(create_at(&[Step::Unimplemented]).status, Some(6));
}

#[test]
fn help_lists_every_exit_status() {
    let help = Ended::of(Command::new(binary("users-cli")).arg("--help")).succeeded();

    let (_, statuses) = help.split_once("Exit status:\n").unwrap();
    let statuses: Vec<_> = statuses
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok())
        .collect();
    assert_eq!(statuses, [0, 1, 2, 3, 4, 5, 6, 130, 143]);
}

#[test]
fn output_that_cannot_be_written_is_a_failure_with_its_reason() {
    let service = Service::with_users(1);
    let full = || File::options().write(true).open("/dev/full").unwrap();

    for words in [
        &["list"][..],
        &["list", "--all"],
        &["find", "user1@example.com"],
        &["man"],
    ] {
        let output = service.command(words).stdout(full()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("cannot write to the standard output: No space left"),
            "{error}"
        );
    }
}

#[test]
fn values_at_fault_are_named_as_they_are_typed() {
    let service = Service::with_users(0);

    let list = service.run(&["list", "--page-size", "0", "--page-token", "?"]);
    let create = service.run(&["create", "--email", "jane", "--name", ""]);

    for (ended, options) in [
        (
            list,
            ["users-cli: --page-size must ", "; --page-token must "],
        ),
        (create, ["users-cli: --email must ", "; --name must "]),
    ] {
        let error = ended.error;
        assert_eq!(ended.status, Some(3), "{error}");
        assert!(
            options.iter().all(|option| error.contains(option)),
            "{error}"
        );
    }
}

#[test]
fn file_for_tls_that_is_missing_is_named_by_option_or_variable_as_the_others_are() {
    let cli = || users_cli("127.0.0.1:1", &["list"]);

    let by_option = Ended::of(cli().args(["--tls-cert", "cert.pem"]));
    let by_variable = Ended::of(cli().env("USERS_TLS_CERT", "cert.pem"));

    assert_eq!((by_option.status, by_variable.status), (Some(2), Some(2)));
    let expected = "--tls-key must be set too, because --tls-cert is";
    assert!(by_option.error.contains(expected), "{}", by_option.error);
    let expected = "USERS_TLS_KEY must be set too, because USERS_TLS_CERT is";
    assert!(
        by_variable.error.contains(expected),
        "{}",
        by_variable.error
    );
}
