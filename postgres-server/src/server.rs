//! A private PostgreSQL server: its data directory, its process, and the end of both.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use postgres::{Client, NoTls};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{binaries::Binaries, ports::free_port};

/// A clean start takes a second; recovery after a crash can take long.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may take to notice that the process that started it was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Runs the server until its standard input closes. That happens when the process that holds the
/// other end is gone, whatever ended it, so that no server is ever left behind, and no temporary
/// data either.
const WATCH: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null & server=$!
(read -r last <&3; kill -INT $server; test "$last" = keep || exit 99) 2>/dev/null & watch=$!
exec 3<&-
wait $server; status=$?
kill $watch 2>/dev/null
wait $watch 2>/dev/null
if test $? = 99 && test -n "$TEMPORARY"; then rm -rf "$TEMPORARY"; fi
exit $status
"#;

/// A running server on a port of 127.0.0.1. Stops when dropped.
pub struct Server {
    watched: Child,
    /// Held by whoever uses the data directory.
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
        Self::start_in(dir, false)
    }

    /// Starts a server with data of its own, which go when it goes.
    pub fn temporary() -> anyhow::Result<Self> {
        let dir = temporary_dir()?;
        let server = Self::start_in(dir.path(), true)?;
        // From here on the watch removes it.
        let _ = dir.keep();
        Ok(server)
    }

    fn start_in(dir: &Path, temporary: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let lock = lock(&dir)?;
        let data = dir.join("postgres");
        let version = fs::read_to_string(data.join("PG_VERSION")).ok();
        let binaries = Binaries::find(version.as_deref().map(str::trim))?;
        if version.is_none() {
            create(&dir, &data, &binaries)?;
        }
        let password = fs::read_to_string(dir.join("password"))
            .with_context(|| format!("cannot read {}", dir.join("password").display()))?;
        stop_orphan(&data, &binaries)?;
        let port = free_port()?;
        let watched = launch(&dir, &binaries, port, &password, temporary)?;
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
        let dir = temporary_dir()?;
        let data = dir.path().join("postgres");
        let copied = command(&self.program("pg_basebackup"))?
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-c",
                "fast",
                "-R",
                "-D",
            ])
            .arg(&data)
            .args(["-p", &port.to_string()])
            .env("PGPASSWORD", &self.password)
            .output()?;
        ensure!(
            copied.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&copied.stderr)
        );
        fs::write(dir.path().join("password"), &self.password)?;
        let standby = Self::start_in(dir.path(), true)?;
        let _ = dir.keep();
        Ok(standby)
    }

    /// The server's version, such as "PostgreSQL 15.14".
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// One of the programs that came with it, such as `pgbench`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.initdb.with_file_name(name)
    }

    /// The port of 127.0.0.1 that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of one of its databases, for the superuser `postgres`.
    #[must_use]
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
        let pid = postmaster(&self.dir.join("postgres")).context("the server is not running")?;
        Ok(kill(pid, signal)?)
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
        self.watched = launch(dir, binaries, *port, password, *temporary)?;
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

/// A directory that the user the server runs as can write to.
fn temporary_dir() -> anyhow::Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("users-postgres-")
        .tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    if let Some(owner) = server_user()? {
        chown(dir.path(), Some(owner.uid.as_raw()), None)?;
    }
    Ok(dir)
}

/// Takes the data directory for this process.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let file = File::create(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "{} is in use by another `cargo run`: stop that one, or set DATA_DIR to another directory",
            dir.display()
        ),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Creates the data directory `data`, whole or not at all.
fn create(dir: &Path, data: &Path, binaries: &Binaries) -> anyhow::Result<()> {
    let unfinished = dir.join("postgres.new");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir(&unfinished)?,
    }
    let password = Uuid::new_v4().simple().to_string();
    let password_file = dir.join("password");
    let _ = fs::remove_file(&password_file);
    let mut private = File::options();
    private.write(true).create_new(true).mode(0o600);
    private
        .open(&password_file)?
        .write_all(password.as_bytes())?;
    if let Some(owner) = server_user()? {
        let (uid, gid) = (Some(owner.uid.as_raw()), Some(owner.gid.as_raw()));
        chown(&unfinished, uid, gid)?;
        chown(&password_file, uid, gid)?;
    }
    let output = command(&binaries.initdb)?
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ])
        .arg("--pwfile")
        .arg(&password_file)
        .arg("-D")
        .arg(&unfinished)
        .output()
        .context("initdb cannot be started")?;
    ensure!(
        output.status.success(),
        "initdb failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    fs::rename(&unfinished, data)?;
    Ok(())
}

/// Starts the server and waits until it takes connections.
fn launch(
    dir: &Path,
    binaries: &Binaries,
    port: u16,
    password: &str,
    temporary: bool,
) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("postgres.log"))?;
    let log_start = log.metadata()?.len();
    let mut watched = command("sh".as_ref())?
        .args(["-c", WATCH, "sh"])
        .arg(&binaries.postgres)
        .arg("-D")
        .arg(dir.join("postgres"))
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ])
        .args(["-c", &format!("port={port}")])
        .env(
            "TEMPORARY",
            if temporary {
                dir.as_os_str()
            } else {
                "".as_ref()
            },
        )
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("PostgreSQL cannot be started")?;
    let mut config = postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("postgres")
        .password(password);
    config.connect_timeout(Duration::from_secs(2));
    let mut ended = false;
    let up = wait_until(START_TIMEOUT, || {
        ended = !matches!(watched.try_wait(), Ok(None));
        ended || config.connect(NoTls).is_ok()
    });
    if up && !ended {
        return Ok(watched);
    }
    drop(watched.stdin.take());
    let _ = watched.wait();
    let mut said = String::new();
    let mut log = File::open(dir.join("postgres.log"))?;
    log.seek(SeekFrom::Start(log_start))?;
    log.read_to_string(&mut said)?;
    bail!("PostgreSQL did not start; it said:\n{}", said.trim())
}

/// Stops the server that a killed process may have left on this data directory.
fn stop_orphan(data: &Path, binaries: &Binaries) -> anyhow::Result<()> {
    // It stops by itself when its watch notices, unless that was killed too.
    if !wait_until(ORPHAN_TIMEOUT, || postmaster(data).is_none()) {
        let mut stop = command(&binaries.pg_ctl)?;
        let stop = stop.args(["stop", "-m", "fast", "-w", "-D"]).arg(data);
        ensure!(
            stop.status()?.success(),
            "the server on {} does not stop",
            data.display()
        );
    }
    // What a crash left; the server would refuse to start if another process has its number now.
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The first process of the server that runs on `data`, as its lock file tells.
fn postmaster(data: &Path) -> Option<Pid> {
    let lock_file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = lock_file.lines().next()?.trim();
    // The number may be another process's by now.
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).or_else(|_| {
        // Not Linux.
        Command::new("ps")
            .args(["-o", "command=", "-p", pid])
            .output()
            .map(|ps| ps.stdout)
    });
    let ours = String::from_utf8_lossy(&command_line.ok()?).contains(data.to_str()?);
    Some(Pid::from_raw(pid.parse().ok()?)).filter(|_| ours)
}

/// A command in a process group of its own, which Ctrl-C in the terminal does not reach, as the user
/// that the server runs as, and without the variables that would make PostgreSQL look elsewhere.
fn command(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    if let Some(user) = server_user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

/// The user to run the server as when we are root, as whom it refuses to run.
pub fn server_user() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?;
    let missing = "PostgreSQL does not run as root, and there is no user `postgres` to run it as: \
                   run this as another user";
    Ok(Some(user.context(missing)?))
}

/// Whether the user that the server runs as can get into `dir`.
pub fn is_reachable(dir: &Path) -> anyhow::Result<bool> {
    let status = command("test".as_ref())?.arg("-x").arg(dir).status()?;
    Ok(status.success())
}

fn wait_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}
