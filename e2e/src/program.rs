//! A running program: its output, its signals, its end.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually;

/// A running program. Killed when dropped, unless it has ended before.
pub struct Program {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Program {
    /// Starts a program in the directory `dir`, with `settings` as its only environment beside `PATH`.
    pub fn start(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut started = Self::start_unread(program, dir, settings);
        started.collect_output();
        started
    }

    /// Starts a program whose output nobody reads.
    pub fn start_unread(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program).current_dir(dir), settings)
    }

    /// Starts what a line of shell makes of it.
    pub fn start_shell(script: &str, settings: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).current_dir("/");
        let mut started = Self::spawn(shell, settings);
        started.collect_output();
        started
    }

    fn spawn(command: &mut Command, settings: &[(&str, &str)]) -> Self {
        let child = command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self {
            child: child.unwrap(),
            output: Arc::default(),
        }
    }

    fn collect_output(&mut self) {
        collect(self.child.stdout.take().unwrap(), self.output.clone());
        collect(self.child.stderr.take().unwrap(), self.output.clone());
    }

    /// Closes the other ends of its standard output and standard error.
    pub fn close_output(&mut self) {
        drop((self.child.stdout.take(), self.child.stderr.take()));
    }

    /// What it has written so far, on standard output and standard error.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it writes a line with `text`, and returns the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut end = Instant::now() + Duration::from_secs(30);
        loop {
            if self.child.try_wait().unwrap().is_some() {
                // Its last lines may still be on their way.
                end = end.min(Instant::now() + Duration::from_secs(1));
            }
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no {text:?} in:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address it says it listens on.
    pub fn addr(&mut self) -> SocketAddr {
        let line = self.wait_for("listening");
        // addr=… in text, "addr":"…" in JSON.
        let after = line.split("addr").nth(1).unwrap();
        let addr = after.trim_start_matches(['=', '"', ':']);
        addr.split([' ', '"']).next().unwrap().parse().unwrap()
    }

    /// The most memory it has had, in MB (proc(5), `VmHWM`).
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.split("VmHWM:").nth(1).unwrap();
        let kilobytes: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
        kilobytes / 1024
    }

    /// How many threads it has (proc(5)).
    pub fn threads(&self) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        threads.unwrap().count()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
        if signal == Signal::SIGSTOP {
            // It may run on until the thread that got the signal has a processor.
            eventually("all of its threads are stopped", || all_stopped(pid));
        }
    }

    /// Fails if it has ended.
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it has ended by itself, {status}:\n{}", self.output());
        }
    }

    /// Waits until it ends.
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it with SIGTERM, which must end it with status 0.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended().code(), Some(0), "{}", self.output());
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended().signal(), Some(Signal::SIGKILL as i32));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether all threads of a process are stopped (proc(5), the third field of `stat`).
fn all_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stopped = |stat: &str| stat.rsplit(") ").next().unwrap().starts_with('T');
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .all(|stat| stopped(&stat))
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            *output.lock().unwrap() += &(line + "\n");
        }
    });
}
