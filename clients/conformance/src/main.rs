//! Tests a client of the users service, in any language, against services that fail.

mod args;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use users_conformance::{MutualTls, Options, Trial, run_in_order};

use crate::args::Args;

const ALL_RIGHT: u8 = 0;
const SOME_WRONG: u8 = 1;
const CANNOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = if args.list {
        list(&args.trials()).map(|()| ExitCode::SUCCESS)
    } else {
        run(args)
    };
    done.unwrap_or_else(|error| {
        eprintln!("users-conformance: {error:#}");
        ExitCode::from(CANNOT_RUN)
    })
}

fn list(trials: &[Trial]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    for trial in trials {
        writeln!(stdout, "{}: the service {}", trial.name(), trial.words())?;
    }
    Ok(())
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trials = args.trials();
    let mut command = args.command.into_iter();
    let options = Options {
        command: (command.next().unwrap_or_default(), command.collect()),
        timeout: Duration::from_millis(args.timeout_ms.into()),
        patience: Duration::from_millis(args.patience_ms.into()),
        tls: args.tls.then(MutualTls::new).transpose()?,
        repeats: args.repeats,
        jobs: args.jobs.get(),
    };

    let mut wrong = 0;
    run_in_order(&trials, &options, |report| {
        if !report.is_right() {
            wrong += 1;
            io::stderr().write_all(report.stderr().as_bytes())?;
        }
        writeln!(io::stdout(), "{report}")
    })?;

    let right = trials.len() - wrong;
    writeln!(io::stdout(), "ok: {right}, WRONG: {wrong}")?;
    Ok(ExitCode::from(if wrong == 0 {
        ALL_RIGHT
    } else {
        SOME_WRONG
    }))
}
