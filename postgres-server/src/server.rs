//! A PostgreSQL server of one's own: started, stopped, crashed and started again.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use postgres::{Client, NoTls};
use uuid::Uuid;

use crate::binaries::Binaries;
use crate::ports::free_port;
use crate::postmaster::wait_until;
use crate::run_as::command;
use crate::{data_dir, postmaster};

const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running server on a port of 127.0.0.1. Stops when dropped.
pub struct Server {
    watched: Child,
    /// Held by the process that uses the data directory.
    _lock: File,
    dir: PathBuf,
    binaries: Binaries,
    port: u16,
    password: String,
    temporary: bool,
}

impl Server {
    /// Starts a server on the data in `dir`, which is created when it is not there.
    ///
    /// A server that an earlier, killed process left there is stopped first.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, false, Binaries::find)
    }

    /// Starts a server with data of its own, which go when it goes.
    pub fn temporary() -> anyhow::Result<Self> {
        let dir = data_dir::temporary()?;
        let server = Self::start_with(dir.path(), true, Binaries::find)?;
        // From here on the watch removes it.
        let _ = dir.keep();
        Ok(server)
    }

    /// Starts a server of the programs that `find` finds for data of a version, if there are data.
    pub(crate) fn start_with(
        dir: &Path,
        temporary: bool,
        find: impl FnOnce(Option<&str>) -> anyhow::Result<Binaries>,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let lock = data_dir::lock(&dir)?;

        let data = dir.join("postgres");
        let version = fs::read_to_string(data.join("PG_VERSION")).ok();
        let binaries = find(version.as_deref().map(str::trim))?;
        if version.is_none() {
            data_dir::create(&dir, &data, &binaries)?;
        }

        let password = fs::read_to_string(dir.join("password"))
            .with_context(|| format!("cannot read {}", dir.join("password").display()))?;
        postmaster::stop_orphan(&data, &binaries)?;
        let port = free_port()?;
        let watched = postmaster::launch(&dir, &binaries, port, &password, temporary)?;
        Ok(Self {
            watched,
            _lock: lock,
            dir,
            binaries,
            port,
            password,
            temporary,
        })
    }

    /// Starts a standby that streams from this server, which it reaches on `port` of 127.0.0.1
    /// (PostgreSQL documentation, section 27.2).
    pub fn standby(&self, port: u16) -> anyhow::Result<Self> {
        let dir = data_dir::temporary()?;
        let data = dir.path().join("postgres");
        let copied = command(&self.program("pg_basebackup"))?
            .args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--checkpoint=fast",
            ])
            .arg(format!("--port={port}"))
            .arg("--write-recovery-conf")
            .arg("--pgdata")
            .arg(&data)
            .env("PGPASSWORD", &self.password)
            .output()?;
        ensure!(
            copied.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&copied.stderr)
        );
        fs::write(dir.path().join("password"), &self.password)?;
        let standby = Self::start_with(dir.path(), true, Binaries::find)?;
        let _ = dir.keep();
        Ok(standby)
    }

    /// The server's version, such as "PostgreSQL 15.14".
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// One of the programs that came with it, such as `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    /// The file with the password of the superuser `postgres`.
    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of one of its databases, for the superuser `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// A connection to one of its databases, as the superuser.
    pub fn connect(&self, database: &str) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url(database), NoTls)?)
    }

    /// Makes sure that a database exists, and returns its URL.
    pub fn ensure_database(&self, name: &str) -> anyhow::Result<String> {
        let mut client = self.connect("postgres")?;
        if client
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name])?
            .is_none()
        {
            client.batch_execute(&format!("CREATE DATABASE \"{name}\""))?;
        }
        Ok(self.url(name))
    }

    /// Makes sure that a role exists that may connect to a database and nothing else, gives it a fresh password,
    /// and returns its URL.
    pub fn ensure_role(&self, name: &str, database: &str) -> anyhow::Result<String> {
        let mut client = self.connect("postgres")?;
        if client
            .query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name])?
            .is_none()
        {
            client.batch_execute(&format!("CREATE ROLE \"{name}\" LOGIN"))?;
        }
        let password = Uuid::new_v4().simple();
        client.batch_execute(&format!(
            "ALTER ROLE \"{name}\" PASSWORD '{password}'; \
             REVOKE ALL ON DATABASE \"{database}\" FROM PUBLIC; \
             GRANT CONNECT ON DATABASE \"{database}\" TO \"{name}\""
        ))?;
        Ok(format!(
            "postgres://{name}:{password}@127.0.0.1:{}/{database}",
            self.port
        ))
    }

    /// Has the server offer TLS to connections that begin from now on, with a certificate and its key in PEM.
    pub fn use_certificate(&self, cert: &str, key: &str) -> anyhow::Result<()> {
        let data = self.dir.join("postgres");
        for (name, text) in [("server.crt", cert), ("server.key", key)] {
            data_dir::write_private(&data.join(name), text)?;
        }
        let mut client = self.connect("postgres")?;
        client.batch_execute("ALTER SYSTEM SET ssl = on")?;
        client.batch_execute("SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Makes an empty database that no one else uses, and returns its URL.
    pub fn fresh_database(&self) -> anyhow::Result<String> {
        self.ensure_database(&format!("test_{}", Uuid::new_v4().simple()))
    }

    /// Whether the server's process has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.watched.try_wait(), Ok(None))
    }

    /// Sends a signal to the server's first process (PostgreSQL documentation, section 19.5:
    /// SIGTERM, SIGINT and SIGQUIT stop it; SIGKILL is a crash).
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid =
            postmaster::find(&self.dir.join("postgres")).context("the server is not running")?;
        Ok(kill(pid, signal)?)
    }

    /// Sends a signal to all of the server's processes, for SIGSTOP and SIGCONT.
    pub fn signal_all(&self, signal: Signal) {
        postmaster::signal_all(&self.dir.join("postgres"), signal);
    }

    /// Stops the server, and keeps its data: its clients are disconnected, what they committed stays.
    pub fn stop(&mut self) {
        if let Some(stdin) = &mut self.watched.stdin {
            // It may have ended by itself.
            let _ = stdin.write_all(b"keep\n");
        }
        self.end();
    }

    /// Starts the server again after it stopped or crashed, on the same port and data.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.stop();
        let Self {
            dir,
            binaries,
            port,
            password,
            temporary,
            ..
        } = self;
        self.watched = postmaster::launch(dir, binaries, *port, password, *temporary)?;
        Ok(())
    }

    fn end(&mut self) {
        drop(self.watched.stdin.take());
        if !wait_until(STOP_TIMEOUT, || self.has_ended()) {
            tracing::warn!("PostgreSQL takes too long to stop; ending it");
            let _ = self.signal(Signal::SIGQUIT);
            let _ = wait_until(STOP_TIMEOUT, || self.has_ended());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if self.temporary {
            // The watch has done so already, unless the server had been stopped or had crashed.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn crashed_server_starts_again_when_the_last_of_its_processes_has_ended() {
        let mut server = Server::temporary().unwrap();
        let mut sql = server.connect("postgres").unwrap();
        let row = sql.query_one("SELECT pg_backend_pid()", &[]).unwrap();
        let backend = Pid::from_raw(row.get(0));
        kill(backend, Signal::SIGSTOP).unwrap();
        server.signal(Signal::SIGKILL).unwrap();

        let mend = thread::spawn(move || {
            thread::sleep(Duration::from_millis(500));
            kill(backend, Signal::SIGCONT).unwrap();
        });
        server.start_again().unwrap();
        assert!(mend.is_finished());
    }
}
