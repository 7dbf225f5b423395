//! A client under test: its command line, which all our clients have, and sessions of many calls.

use std::{ffi::OsString, path::PathBuf, process::Command, time::Duration};

use e2e::certificates::TlsFiles;
use e2e::{binary, root};
use serde_json::Value;

use super::session::{ForeignSession, InProcess, Session};
use super::toolchains::{cpp_programs, python};

/// How long a call may take where time is not what a test is about.
const TIMEOUT: Duration = Duration::from_secs(5);

// What a client does or does not do, one thing each.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone)]
pub struct Client {
    command_line: Vec<OsString>,
    /// Makes the calls of a session; the client in Rust needs none.
    driver: Option<Vec<OsString>>,
    environment: Vec<(&'static str, PathBuf)>,
    tls: Option<TlsFiles>,
    /// Whether it takes ids of the type `Uuid`, which can hold nothing else.
    pub has_typed_ids: bool,
    /// Whether its contract has `findUser` and `UserDirectory`.
    pub knows_directories: bool,
    /// Whether it refuses to start with a certificate of its own that has expired.
    pub checks_its_own_certificate: bool,
    /// Whether it repeats a call twice and after any failure, instead of once and after a broken connection.
    pub repeats_after_any_failure: bool,
}

impl Client {
    pub fn rust() -> Self {
        Self {
            command_line: vec![binary("users-cli").into(), "--output=json".into()],
            driver: None,
            environment: Vec::new(),
            tls: None,
            has_typed_ids: true,
            knows_directories: true,
            checks_its_own_certificate: true,
            repeats_after_any_failure: true,
        }
    }

    pub fn python() -> Self {
        let python = OsString::from(python());
        let driver = root().join("e2e/clients/session.py");
        Self {
            command_line: vec![python.clone(), "-m".into(), "users_client".into()],
            driver: Some(vec![python, driver.into()]),
            environment: Vec::new(),
            tls: None,
            has_typed_ids: false,
            knows_directories: true,
            checks_its_own_certificate: false,
            repeats_after_any_failure: false,
        }
    }

    /// The client in Python with the contract as it was first published, which must work for ever.
    pub fn of_first_published_contract() -> Self {
        let mut client = Self::python();
        let schema = root().join("e2e/tests/e2e/first-published/users.capnp");
        client.environment.push(("USERS_SCHEMA", schema));
        client.knows_directories = false;
        client
    }

    pub fn cpp() -> Self {
        Self {
            command_line: vec![cpp_programs().join("users-client").into()],
            driver: Some(vec![cpp_programs().with_file_name("session").into()]),
            environment: Vec::new(),
            tls: None,
            has_typed_ids: false,
            knows_directories: true,
            checks_its_own_certificate: false,
            repeats_after_any_failure: false,
        }
    }

    /// The command line of the program that makes the calls of its sessions, of a client that is not in Rust.
    pub fn driver(&self) -> &[OsString] {
        self.driver.as_deref().unwrap()
    }

    /// The same client with files for mutual TLS.
    pub fn with_tls(&self, files: &TlsFiles) -> Self {
        let mut client = self.clone();
        client.tls = Some(files.clone());
        client
    }

    /// Runs one command of the command line: its exit status, and the JSON that it prints.
    pub fn run(&self, addr: &str, words: &[&str]) -> (i32, Value) {
        output_of(self.command(addr).args(words))
    }

    /// Runs `create`.
    pub fn create(&self, addr: &str, id: &str, email: &str, name: &str) -> (i32, Value) {
        let user = ["--id", id, "--email", email, "--name", name];
        self.run(addr, &[&["create"], &user[..]].concat())
    }

    /// Its command line for the service on `addr`, without a command.
    pub fn command(&self, addr: &str) -> Command {
        self.command_with_timeout(addr, TIMEOUT)
    }

    /// The same with the time that a call may take.
    pub fn command_with_timeout(&self, addr: &str, timeout: Duration) -> Command {
        let mut command = self.program(&self.command_line);
        command.args(["--users-addr", addr]);
        command.args(["--timeout-ms", &timeout.as_millis().to_string()]);
        if let Some(files) = &self.tls {
            command.envs(files.of_caller());
        }
        command
    }

    /// One client for many calls.
    pub fn session(&self, addr: &str) -> Box<dyn Session> {
        self.session_with_timeout(addr, TIMEOUT)
    }

    /// The same with the time that a call may take.
    pub fn session_with_timeout(&self, addr: &str, timeout: Duration) -> Box<dyn Session> {
        let Some(driver) = &self.driver else {
            return Box::new(InProcess::connect(addr, timeout, self.tls.as_ref()));
        };
        let mut program = self.program(driver);
        program.args([addr, &timeout.as_millis().to_string()]);
        if let Some(files) = &self.tls {
            program.args([&files.cert, &files.key, &files.ca]);
        }
        Box::new(ForeignSession::start(program))
    }

    fn program(&self, words: &[OsString]) -> Command {
        let mut program = Command::new(&words[0]);
        program.args(&words[1..]);
        program.envs(self.environment.iter().map(|(name, value)| (name, value)));
        program
    }
}

/// Runs a command: its exit status, and the JSON that it prints.
pub fn output_of(command: &mut Command) -> (i32, Value) {
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let outcome = serde_json::from_str(&printed).unwrap_or_else(|_| {
        let error = String::from_utf8_lossy(&output.stderr);
        panic!("{command:?} prints {printed:?} and {error}")
    });
    (output.status.code().unwrap(), outcome)
}
