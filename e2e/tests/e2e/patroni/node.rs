//! One PostgreSQL server, and the Patroni that runs it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres_server::{command, find_postmaster, signal_server, wait_until};
use ureq::Agent;

use e2e::free_addr;

const END_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Node {
    dir: PathBuf,
    /// Where the server listens.
    pub addr: String,
    /// Where Patroni answers.
    api: String,
    patroni: Option<Child>,
}

impl Node {
    /// A node whose files are in `dir`, which is made. `settings` are put in for what `patroni.yml` has in braces.
    pub fn new(dir: PathBuf, name: &str, settings: &[(&str, &str)]) -> Self {
        let made = command("mkdir".as_ref()).unwrap().arg(&dir).status();
        assert!(made.unwrap().success());
        let node = Self {
            dir,
            addr: free_addr(),
            api: free_addr(),
            patroni: None,
        };
        let own = [
            ("{name}", name),
            ("{dir}", node.dir.to_str().unwrap()),
            ("{addr}", &*node.addr),
            ("{api}", &*node.api),
        ];
        let mut config = include_str!("patroni.yml").to_owned();
        for (place, value) in own.iter().chain(settings) {
            config = config.replace(place, value);
        }
        fs::write(node.config(), config).unwrap();
        node
    }

    /// The file with Patroni's settings.
    pub fn config(&self) -> PathBuf {
        self.dir.join("patroni.yml")
    }

    pub fn start(&mut self) {
        let log = self.dir.join("patroni.log");
        self.patroni = Some(spawn("patroni", &[self.config().to_str().unwrap()], &log));
    }

    /// Whether Patroni says that its server has this role (Patroni's documentation, "REST API").
    pub fn is(&self, role: &str) -> bool {
        let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(2)));
        let agent: Agent = config.build().into();
        let answer = agent.get(format!("http://{}/{role}", self.api)).call();
        answer.is_ok()
    }

    /// Kills Patroni, which would start the server again, and ends the server by a signal.
    pub fn end(&mut self, signal: Signal) {
        let Some(mut patroni) = self.patroni.take() else {
            return;
        };
        patroni.kill().unwrap();
        patroni.wait().unwrap();
        let data = self.dir.join("data");
        if let Some(postmaster) = find_postmaster(&data) {
            let _ = kill(postmaster, signal);
            wait_until(END_TIMEOUT, || find_postmaster(&data).is_none());
        }
    }

    /// Sends a signal to all processes of the node.
    pub fn signal(&self, signal: Signal) {
        if let Some(patroni) = &self.patroni {
            let _ = kill(Pid::from_raw(patroni.id().try_into().unwrap()), signal);
        }
        signal_server(&self.dir.join("data"), signal);
    }

    pub fn print_log(&self) {
        let log = fs::read_to_string(self.dir.join("patroni.log")).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(20).collect();
        println!("{}, its last line first: {last:#?}", self.dir.display());
    }
}

/// Starts a program as the user that the servers run as. It is told to stop when this thread ends.
pub fn spawn(program: &str, arguments: &[&str], log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut command = command("setpriv".as_ref()).unwrap();
    let command = command
        .args(["--pdeathsig", "TERM", program])
        .args(arguments);
    let command = command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}
