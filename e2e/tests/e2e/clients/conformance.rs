//! Whatever a service does to a create, every client says the same of it, and never that nothing was
//! written when something may have been.
//!
//! The scripts of the service and what they must look like are those of `clients/conformance`.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use credentials::{CredentialFile, ServerTls};
use e2e::certificates::Certificates;
use serde_json::Value;
use tempfile::NamedTempFile;
use users_conformance::Repeats::{self, OnceIfDisconnected, Twice};
use users_conformance::{
    CASES_OF_EACH, EMAIL_DOMAIN, Outcome, ScriptedService, Step, cases, name_of,
};
use uuid::Uuid;

use super::client::{Client, output_of};
use super::session::user_at;

/// Time that a create has. Some cases take all of it.
const TIMEOUT: Duration = Duration::from_millis(1500);

pub fn create_has_the_outcome_that_its_attempts_allow(client: &Client) {
    check_create(client, start);
}

pub fn create_over_mutual_tls_has_the_same_outcome(client: &Client) {
    let certificates = Certificates::new();
    let service = certificates.issue_for_service();
    let files = service
        .of_service()
        .map(|(variable, path)| CredentialFile::new(variable, path));
    let tls = ServerTls::mutual(files).unwrap();
    let client = client.with_tls(&certificates.issue("gateway"));
    check_create(&client, |script| {
        let service = ScriptedService::start_with_tls(script, tls.clone());
        service.unwrap().addr
    });
}

fn check_create(client: &Client, start: impl Fn(&'static [Step]) -> String) {
    check_all(repeats_of(client), start, |addr, id, email| {
        let mut session = client.session_with_timeout(addr, TIMEOUT);
        session.create(id, email, "Jane")
    });
}

pub fn users_created_in_one_call_have_the_outcome_that_its_attempts_allow(client: &Client) {
    check_all(repeats_of(client), start, |addr, id, email| {
        let mut session = client.session_with_timeout(addr, TIMEOUT);
        let user = (id.to_owned(), email.to_owned(), "Jane".to_owned());
        let mut outcomes = session.create_many(&[user, some_user()]);
        assert_eq!(outcomes.len(), 2);
        outcomes.dedup();
        outcomes.join(" and ")
    });
}

pub fn each_user_of_a_call_has_an_outcome_of_its_own(client: &Client) {
    for case in &CASES_OF_EACH {
        let mut session = client.session_with_timeout(&start(case.script), TIMEOUT);
        let users = case.outcomes.map(|_| some_user());
        let outcomes = session.create_many(&users);
        let expected = case.outcomes.map(Outcome::word);
        assert_eq!(outcomes, expected, "{}", name_of(case.script));
    }
}

/// Starts a service that follows a script, and returns its address.
pub fn start(script: &'static [Step]) -> String {
    ScriptedService::start(script).unwrap().addr
}

/// One by which the service recognises a create.
fn some_user() -> (String, String, String) {
    user_at(EMAIL_DOMAIN.trim_start_matches('@'))
}

fn repeats_of(client: &Client) -> Repeats {
    if client.repeats_after_any_failure {
        Twice
    } else {
        OnceIfDisconnected
    }
}

#[test]
fn users_cli_create_has_the_outcome_that_its_attempts_allow() {
    check_all(Twice, start, |addr, id, email| {
        let user = ["--id", id, "--email", email, "--name", "Jane"];
        let (_, printed) = output_of(users_cli(addr).arg("create").args(user));
        printed["outcome"].as_str().unwrap().to_owned()
    });
}

#[test]
fn users_cli_import_has_the_outcome_that_its_attempts_allow() {
    check_all(Twice, start, |addr, id, email| {
        let mut file = NamedTempFile::new().unwrap();
        write!(file, "id,email,name\n{id},{email},Jane\n").unwrap();
        let import = ["import", "--patience", "0"];
        let (status, report) = output_of(users_cli(addr).args(import).arg(file.path()));
        match status {
            4 => "unavailable".to_owned(),
            5 => "unknown".to_owned(),
            6 => "unimplemented".to_owned(),
            _ => only_key(&report["outcomes"]),
        }
    });
}

/// Makes the create of every case with `create`, which gets an address, an id and an e-mail address, and
/// fails with a list of the outcomes that are wrong. `start` starts a service that follows a script.
fn check_all(
    repeats: Repeats,
    start: impl Fn(&'static [Step]) -> String,
    create: impl Fn(&str, &str, &str) -> String,
) {
    let wrong = cases().filter_map(|case| {
        let id = Uuid::new_v4().to_string();
        let addr = start(case.script);
        let outcome = create(&addr, &id, &format!("{id}{EMAIL_DOMAIN}"));
        let expected = case.outcome(repeats).word();
        let is_wrong = outcome != expected;
        is_wrong.then(|| format!("{}: {outcome} instead of {expected}", name_of(case.script)))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn users_cli(addr: &str) -> Command {
    Client::rust().command_with_timeout(addr, TIMEOUT)
}

fn only_key(counts: &Value) -> String {
    let counts = counts.as_object().unwrap();
    assert_eq!(counts.len(), 1, "{counts:?}");
    counts.keys().next().unwrap().clone()
}
