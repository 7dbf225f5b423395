//! The users service's process.

use std::process::ExitCode;

use clap::CommandFactory as _;
use service_runtime::process::{self, Process, listen};
use service_runtime::{logging, settings, signals};
use users_svc::{Command, Settings};

fn main() -> ExitCode {
    process::main("users-svc", run)
}

fn run() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    logging::init(
        "users-svc",
        settings.process.log_format,
        &settings.process.rust_log,
    );
    match settings.command {
        Some(Command::Migrate) => {
            signals::exit_on_signal()?;
            let applied = users_svc::migrate(&settings.migrator()?)?;
            let applied = if applied.is_empty() {
                "nothing to do".into()
            } else {
                applied.join(", ")
            };
            println!("applied: {applied}");
        }
        Some(Command::Healthcheck) => return Ok(users_svc::healthcheck(&settings)),
        None => {
            settings::warn_of_unknown(&[Settings::command()], &[]);
            // Refuses a bad value before any socket opens.
            settings.check()?;
            let process = Process::start("users-svc", &settings.process)?;
            let listener = listen("RPC_ADDR", settings.rpc_addr)?;
            users_svc::run(&settings, listener, &process.readiness, &process.shutdown)?;
            tracing::info!("stopped");
        }
    }
    Ok(ExitCode::SUCCESS)
}
