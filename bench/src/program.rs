//! A program of this workspace that runs, and what the kernel knows of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a service may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a program may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A program's process. When dropped it is stopped with SIGTERM, so that one built to write a profile does.
pub struct Program(Child);

impl Program {
    /// The binary of this name, which lies beside that of this program.
    pub fn command(name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(env::current_exe()?.with_file_name(name));
        command.current_dir("/").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a service, and tells how long it took until its healthcheck succeeded.
    pub fn start(
        name: &str,
        settings: &[(&'static str, String)],
    ) -> anyhow::Result<(Self, Duration)> {
        let begin = Instant::now();
        let settings = || settings.iter().map(|(key, value)| (key, value));
        let mut service = Self::command(name)?;
        service.envs(settings()).stderr(tempfile::tempfile()?);
        let started = Self::spawn(&mut service)?;
        loop {
            let check = Self::command(name)?
                .arg("healthcheck")
                .envs(settings())
                .stderr(Stdio::null())
                .status()?;
            if check.success() {
                return Ok((started, begin.elapsed()));
            }
            ensure!(begin.elapsed() < START_TIMEOUT, "{name} is not ready");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts a program, whatever becomes of it.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(child.with_context(|| format!("cannot start {name}"))?))
    }

    /// Fails when it has ended, with `why` that must not be.
    pub fn ensure_runs(&mut self, why: &str) -> anyhow::Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "{why}");
        Ok(())
    }

    /// Its folder in `/proc`.
    pub fn proc(&self) -> PathBuf {
        proc(&self.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let end = Instant::now() + STOP_TIMEOUT;
        // One that has ended and was waited for no longer has its pid.
        if matches!(self.0.try_wait(), Ok(None))
            && let Ok(pid) = self.0.id().try_into()
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder of a process.
fn proc(child: &Child) -> PathBuf {
    Path::new("/proc").join(child.id().to_string())
}

/// Runs a command to its end. Returns what it wrote on standard output, and its peak of resident memory
/// in MiB.
pub fn run(command: &mut Command) -> anyhow::Result<(String, f64)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.with_context(|| format!("cannot start {name}"))?;
    let proc = proc(&child);
    let (output, peak) = thread::scope(|scope| {
        // The kernel forgets it with the process, so that the last look before counts.
        let watch = scope.spawn(|| {
            let mut peak = f64::NAN;
            while let Ok(memory) = memory(&proc, "VmHWM") {
                peak = memory;
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        (child.wait_with_output(), watch.join().unwrap_or(f64::NAN))
    });
    Ok((
        checked(&output?).with_context(|| format!("{name} failed"))?,
        peak,
    ))
}

/// What a program that must succeed wrote on standard output.
pub fn checked(output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}{error}");
    Ok(text)
}

/// A line of `/proc/<pid>/status`, in MiB.
pub fn memory(proc: &Path, key: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(proc.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no such line")?.parse::<f64>()? / 1024.0)
}

/// User and system time of a process (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
pub fn cpu_seconds(proc: &Path) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(proc.join("stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|t| t.parse().unwrap_or(0.0)).sum();
    Ok(ticks / 100.0)
}
