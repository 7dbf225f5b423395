//! One client for many calls: for tests of what outlives a call, such as its connection.

use std::process::Command;
use std::time::Duration;

use e2e::certificates::TlsFiles;
use futures::executor::block_on;
use users_client::{CallError, ClientTls, CreateOutcome, NewUser, UsersClient};
use users_conformance::Driver;
use uuid::Uuid;

/// Makes calls, and returns the name of what became of each.
pub trait Session {
    fn create(&mut self, id: &str, email: &str, name: &str) -> String;

    /// Creates many users, each of an id, an e-mail address and a name.
    fn create_many(&mut self, users: &[(String, String, String)]) -> Vec<String>;

    fn get(&mut self, id: &str) -> String;
}

/// The id, the e-mail address and the name of a user that no other is.
pub fn user_at(domain: &str) -> (String, String, String) {
    let id = Uuid::new_v4().to_string();
    let email = format!("{id}@{domain}");
    (id, email, "Jane".to_owned())
}

/// Longer than any call of a test takes.
const DEADLINE: Duration = Duration::from_secs(120);

/// A program that makes the calls, of those in `e2e/clients`.
pub struct ForeignSession(Driver);

impl ForeignSession {
    pub fn start(program: Command) -> Self {
        Self(Driver::start(program).unwrap())
    }

    fn call(&mut self, words: &[&str]) -> String {
        let answer = self.0.call(words, DEADLINE);
        answer.unwrap_or_else(|error| panic!("{error}: {}", self.0.stderr()))
    }
}

impl Session for ForeignSession {
    fn create(&mut self, id: &str, email: &str, name: &str) -> String {
        self.call(&["create", id, email, name])
    }

    fn create_many(&mut self, users: &[(String, String, String)]) -> Vec<String> {
        let fields = users
            .iter()
            .flat_map(|(id, email, name)| [&**id, email, name]);
        let words: Vec<&str> = ["create_many"].into_iter().chain(fields).collect();
        let outcomes = self.call(&words);
        outcomes.split_whitespace().map(str::to_owned).collect()
    }

    fn get(&mut self, id: &str) -> String {
        self.call(&["get", id])
    }
}

/// The client in Rust, in the test's own process.
pub struct InProcess(UsersClient);

impl InProcess {
    pub fn connect(addr: &str, timeout: Duration, tls: Option<&TlsFiles>) -> Self {
        let endpoints = addr.parse().unwrap();
        let client = match tls {
            None => UsersClient::connect(&endpoints),
            Some(files) => {
                let tls = ClientTls::mutual(files.credentials()).unwrap();
                UsersClient::connect_with_tls(&endpoints, tls)
            }
        };
        Self(client.unwrap().timeout(timeout))
    }
}

impl Session for InProcess {
    fn create(&mut self, id: &str, email: &str, name: &str) -> String {
        let created = block_on(self.0.create_user(new_user(id, email, name)));
        name_of_outcome(&created).to_owned()
    }

    fn create_many(&mut self, users: &[(String, String, String)]) -> Vec<String> {
        let new = users
            .iter()
            .map(|(id, email, name)| new_user(id, email, name));
        let created = block_on(self.0.create_users(new.collect()));
        let names = created
            .iter()
            .map(|outcome| name_of_outcome(outcome).to_owned());
        names.collect()
    }

    fn get(&mut self, id: &str) -> String {
        let outcome = match block_on(self.0.get_user(id)) {
            Ok(Some(_)) => "found",
            Ok(None) => "notFound",
            Err(error) => name_of(&error),
        };
        outcome.to_owned()
    }
}

fn new_user(id: &str, email: &str, name: &str) -> NewUser {
    NewUser {
        id: id.parse().unwrap(),
        email: email.to_owned(),
        name: name.to_owned(),
    }
}

fn name_of_outcome(outcome: &Result<CreateOutcome, CallError>) -> &'static str {
    match outcome {
        Ok(CreateOutcome::Stored { replayed: true, .. }) => "replayed",
        Ok(CreateOutcome::Stored { .. }) => "created",
        Ok(CreateOutcome::EmailTaken) => "emailTaken",
        Ok(CreateOutcome::IdConflict) => "idConflict",
        Ok(CreateOutcome::Invalid(_)) => "invalid",
        Err(error) => name_of(error),
    }
}

fn name_of(error: &CallError) -> &'static str {
    match error {
        CallError::NotExecuted(_) => "unavailable",
        CallError::OutcomeUnknown(_) => "unknown",
        CallError::Unimplemented => "unimplemented",
    }
}
