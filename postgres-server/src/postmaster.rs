//! The server's process: started under a watch that ends it together with the process that started it.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::NoTls;

use crate::{binaries::Binaries, run_as::command};

/// A clean start takes a second; recovery after a crash can take long.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to notice that the process that started it was killed, and its processes that the
/// first of them was.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Why a server does not start while a process of one that crashed on the same data has yet to end.
const STILL_IN_USE: &str = "pre-existing shared memory block";

/// Runs the server until its standard input closes. That happens when the process that holds the other
/// end is gone, whatever ended it, so that neither a server nor temporary data are ever left behind.
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

/// Starts the server on the data of `dir` and waits until it takes connections. A `temporary` directory
/// goes with the server.
pub fn launch(
    dir: &Path,
    binaries: &Binaries,
    port: u16,
    password: &str,
    temporary: bool,
) -> anyhow::Result<Child> {
    let crash_is_over = Instant::now() + ORPHAN_TIMEOUT;
    loop {
        match try_to_launch(dir, binaries, port, password, temporary) {
            Err(error)
                if error.to_string().contains(STILL_IN_USE) && Instant::now() < crash_is_over =>
            {
                thread::sleep(POLL);
            }
            done => return done,
        }
    }
}

fn try_to_launch(
    dir: &Path,
    binaries: &Binaries,
    port: u16,
    password: &str,
    temporary: bool,
) -> anyhow::Result<Child> {
    let log_path = dir.join("postgres.log");
    let log = File::options().create(true).append(true).open(&log_path)?;
    let log_start = log.metadata()?.len();

    let mut watched = command("sh".as_ref())?
        .args(["-c", WATCH, "sh"])
        .arg(&binaries.postgres)
        .arg("-D")
        .arg(dir.join("postgres"))
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .args(["-c", &format!("port={port}")])
        .env("TEMPORARY", if temporary { dir } else { Path::new("") })
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("PostgreSQL cannot be started")?;

    if takes_connections(&mut watched, port, password) {
        return Ok(watched);
    }
    drop(watched.stdin.take());
    let _ = watched.wait();
    let mut said = String::new();
    let mut log = File::open(log_path)?;
    log.seek(SeekFrom::Start(log_start))?;
    log.read_to_string(&mut said)?;
    bail!("PostgreSQL did not start; it said:\n{}", said.trim())
}

/// Waits until the server takes connections; false when it ends or takes too long.
fn takes_connections(server: &mut Child, port: u16, password: &str) -> bool {
    let mut config = postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("postgres")
        .password(password)
        .connect_timeout(Duration::from_secs(2));
    let mut has_ended = false;
    let is_up = wait_until(START_TIMEOUT, || {
        has_ended = !matches!(server.try_wait(), Ok(None));
        has_ended || config.connect(NoTls).is_ok()
    });
    is_up && !has_ended
}

/// Stops the server that a killed process may have left on this data directory.
pub fn stop_orphan(data: &Path, binaries: &Binaries) -> anyhow::Result<()> {
    // It stops by itself when its watch notices, unless the watch was killed too.
    if !wait_until(ORPHAN_TIMEOUT, || find(data).is_none()) {
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
pub fn find(data: &Path) -> Option<Pid> {
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

/// Sends a signal to every process of the server that runs on `data`. Only Linux tells which these are.
pub fn signal_all(data: &Path, signal: Signal) {
    let Some(first) = find(data) else { return };
    // Before its children are counted: when it is stopped, it makes no more of them.
    let _ = kill(first, signal);
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        if let Ok(pid) = child.parse() {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Polls until something is done; false when it takes too long.
pub fn wait_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
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
