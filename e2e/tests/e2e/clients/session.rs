//! One client for many calls: for tests of what outlives a call, such as its connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use e2e::certificates::TlsFiles;
use futures::executor::block_on;
use users_client::{CallError, ClientTls, CreateOutcome, NewUser, UsersClient};
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

/// A program that makes the calls, of those in `e2e/clients`.
pub struct Driver {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driver {
    pub fn start(mut program: Command) -> Self {
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = program.spawn().unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    fn call(&mut self, words: &[&str]) -> String {
        writeln!(self.input, "{}", words.join(" ")).unwrap();
        let mut outcome = String::new();
        self.output.read_line(&mut outcome).unwrap();
        outcome.trim().to_owned()
    }
}

impl Session for Driver {
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

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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
