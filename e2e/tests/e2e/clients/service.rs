//! A users service with a database of its own, to call, stop and freeze.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use e2e::certificates::TlsFiles;
use e2e::{Program, database, eventually, free_addr, healthcheck_with, spawn_users};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

pub struct Service {
    pub addr: String,
    database: String,
    settings: Vec<(&'static str, String)>,
    program: Program,
}

impl Service {
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// A service that wants mutual TLS, in which `reader` may only read.
    pub fn start_with_tls(files: &TlsFiles) -> Self {
        let settings = files
            .of_service()
            .map(|(name, file)| (name, file.to_owned()));
        Self::start_with([&settings[..], &[("RPC_READERS", "reader".to_owned())]].concat())
    }

    fn start_with(settings: Vec<(&'static str, String)>) -> Self {
        let (addr, database) = (free_addr(), database::fresh_database());
        let program = start(&addr, &database, &settings);
        Self {
            addr,
            database,
            settings,
            program,
        }
    }

    /// Its address by a name, for which its certificate can be.
    pub fn named_addr(&self) -> String {
        self.addr.replace("127.0.0.1", "localhost")
    }

    /// The service of all tests that run now, for those that leave it as it is.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Service>> = Mutex::new(Weak::new());
        // Another test may have failed to start it.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let service = Arc::new(Self::start());
            *shared = Arc::downgrade(&service);
            service
        })
    }

    /// Stops the process: it keeps its connections, and answers nothing.
    pub fn freeze(&self) {
        self.program.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.program.signal(Signal::SIGCONT);
    }

    /// Has the service end, as at an update.
    pub fn stop(&mut self) {
        self.program.signal(Signal::SIGTERM);
        assert_eq!(self.program.ended().code(), Some(0));
    }

    pub fn start_again(&mut self) {
        self.program = start(&self.addr, &self.database, &self.settings);
    }

    /// Stores a user with values that no other has.
    pub fn with_user(&self) -> User {
        let user = User::new();
        let insert = "INSERT INTO users (id, email, name) VALUES ($1, $2, $3)";
        let id: Uuid = user.id.parse().unwrap();
        database::connect(&self.database)
            .execute(insert, &[&id, &user.email, &user.name])
            .unwrap();
        user
    }

    /// Rows of users with this e-mail address, in any case.
    pub fn rows_of(&self, email: &str) -> i64 {
        let rows = format!("users WHERE lower(email) = lower('{email}')");
        database::count(&self.database, &rows)
    }

    /// Rows of users with an e-mail address at this domain.
    pub fn rows_at(&self, domain: &str) -> i64 {
        let rows = format!("users WHERE lower(email) LIKE '%@{domain}'");
        database::count(&self.database, &rows)
    }

    /// Connections that the service has.
    pub fn connections(&self) -> usize {
        self.peers().len()
    }

    /// Who is at the other ends of its connections.
    pub fn peers(&self) -> Vec<String> {
        let port: u16 = self.addr.rsplit(':').next().unwrap().parse().unwrap();
        // proc_net(5): the second column is the local address, the third one the other end, the fourth one
        // is 01 when established.
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let peer = |line: &str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_one = columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01";
            is_one.then(|| columns[2].to_owned())
        };
        table.lines().filter_map(peer).collect()
    }
}

/// Starts the program, and waits until it is ready.
fn start(addr: &str, database: &str, settings: &[(&str, String)]) -> Program {
    let settings = settings.iter().map(|(name, value)| (*name, &**value));
    let mut settings: Vec<_> = settings.collect();
    settings.push(("DRAIN_TIMEOUT_MS", "2000"));
    let program = spawn_users(addr, database, &settings);
    settings.push(("RPC_ADDR", addr));
    eventually("the service is ready", || {
        healthcheck_with("users-svc", &settings)
    });
    program
}

/// A user with values that no other has.
pub struct User {
    pub id: String,
    pub email: String,
    pub name: &'static str,
}

impl User {
    pub fn new() -> Self {
        let id = Uuid::new_v4().to_string();
        let email = format!("{id}@example.com");
        let name = "Jånë \"Q\" Дое";
        Self { id, email, name }
    }

    pub fn json(&self) -> Value {
        json!({ "id": self.id, "email": self.email, "name": self.name })
    }
}
