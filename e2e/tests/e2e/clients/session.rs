//! One client for many calls: for tests of what outlives a call, such as its connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use e2e::certificates::TlsFiles;
use futures::executor::block_on;
use users_client::{CallError, ClientTls, CreateOutcome, NewUser, UsersClient};

/// Makes calls, and returns the name of what became of each.
pub trait Session {
    fn create(&mut self, id: &str, email: &str, name: &str) -> String;

    fn get(&mut self, id: &str) -> String;
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
        let user = NewUser {
            id: id.parse().unwrap(),
            email: email.to_owned(),
            name: name.to_owned(),
        };
        let outcome = match block_on(self.0.create_user(user)) {
            Ok(CreateOutcome::Stored { replayed, .. }) if replayed => "replayed",
            Ok(CreateOutcome::Stored { .. }) => "created",
            Ok(CreateOutcome::EmailTaken) => "emailTaken",
            Ok(CreateOutcome::IdConflict) => "idConflict",
            Ok(CreateOutcome::Invalid(_)) => "invalid",
            Err(error) => name_of(&error),
        };
        outcome.to_owned()
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

fn name_of(error: &CallError) -> &'static str {
    match error {
        CallError::NotExecuted(_) => "unavailable",
        CallError::OutcomeUnknown(_) => "unknown",
        CallError::Unimplemented => "unimplemented",
    }
}
