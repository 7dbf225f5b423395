//! Runs cases against a client, several at a time, because most of them wait.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::verdict::Verdict;
use crate::{Driver, MutualTls, Repeats, Report, ScriptedService, Trial};

/// Until everything that a driver has sent has arrived, once it has ended.
const ARRIVAL: Duration = Duration::from_millis(50);

/// How cases are run.
pub struct Options {
    /// The program that makes the calls of the client under test, and its first arguments.
    pub command: (OsString, Vec<OsString>),
    /// The time that the client gives a call.
    pub timeout: Duration,
    /// How long after that a driver may take, to start and to answer.
    pub patience: Duration,
    /// With it, the service speaks TLS, and the driver gets the files.
    pub tls: Option<MutualTls>,
    /// With it, the client must repeat in this way; otherwise as often as it likes.
    pub repeats: Option<Repeats>,
    /// How many cases run at a time.
    pub jobs: usize,
}

/// Runs all of them, and passes the reports on in their order, each as soon as it can be.
pub fn run_in_order(
    trials: &[Trial],
    options: &Options,
    mut pass_on: impl FnMut(Report) -> io::Result<()>,
) -> anyhow::Result<()> {
    let next = &AtomicUsize::new(0);
    let (sender, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            let sender = sender.clone();
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(number) else {
                        return;
                    };
                    if sender.send((number, options.run(trial))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);

        let (mut early, mut expected) = (BTreeMap::new(), 0);
        for (number, report) in reports {
            early.insert(number, report);
            while let Some(report) = early.remove(&expected) {
                pass_on(report?)?;
                expected += 1;
            }
        }
        Ok(())
    })
}

impl Options {
    fn run(&self, trial: &Trial) -> anyhow::Result<Report> {
        let service = match &self.tls {
            None => ScriptedService::start(trial.script),
            Some(tls) => ScriptedService::start_with_tls(trial.script, tls.service.clone()),
        };
        let service = service.context("cannot start a service")?;
        let users = trial.new_users();
        let mut words = vec![if trial.is_of_many {
            "create_many"
        } else {
            "create"
        }];
        for user in &users {
            words.extend([&*user.id, &user.email, &user.name]);
        }

        let mut driver = self.start_driver(&service.addr)?;
        let said = driver.call(&words, self.timeout + self.patience);
        let stderr = driver.stderr();
        // What was sent before may still be on its way.
        drop(driver);
        thread::sleep(ARRIVAL);
        let attempts = service.attempts.so_far();
        let answer = said.as_deref().ok();
        let verdict = Verdict::of(trial, &users, &attempts, answer, self.timeout, self.repeats);
        Ok(Report::new(trial, attempts.len(), said, verdict, stderr))
    }

    fn start_driver(&self, addr: &str) -> anyhow::Result<Driver> {
        let (program, arguments) = &self.command;
        let mut command = Command::new(program);
        command.args(arguments).arg(addr);
        command.arg(self.timeout.as_millis().to_string());
        if let Some(tls) = &self.tls {
            command.args(&tls.files);
        }
        Driver::start(command).with_context(|| format!("cannot start {}", program.display()))
    }
}
