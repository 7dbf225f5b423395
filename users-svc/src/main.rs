//! The users service's process.

use std::process::ExitCode;

use service_runtime::process::{self, Process, listen};
use service_runtime::{logging, settings};
use users_svc::{Command, Settings};

fn main() -> ExitCode {
    process::main(run)
}

fn run() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    logging::init(settings.process.log_format, &settings.process.rust_log);
    match settings.command {
        Some(Command::Migrate) => {
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
            // Refuses a bad value before any socket opens.
            settings.check()?;
            let process = Process::start("users-svc", &settings.process)?;
            let listener = listen("RPC_ADDR", settings.rpc_addr)?;
            users_svc::run(&settings, listener, &process.shutdown)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
