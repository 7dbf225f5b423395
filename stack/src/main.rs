//! `cargo run`: the whole system from one command.

use std::process::ExitCode;

use service_runtime::process::{self, Process};
use service_runtime::{logging, settings};
use stack::{Command, Settings};

fn main() -> ExitCode {
    process::main("stack", run)
}

fn run() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    if let Some(Command::Certs(certs)) = &settings.command {
        println!("{}", certs.make()?.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    // The services' own settings say how to log.
    let services: gateway::Settings = settings::parse_from(["gateway"])?;
    logging::init(
        "stack",
        services.process.log_format,
        &services.process.rust_log,
    );
    stack::warn_of_unused_variables(&settings);
    let process = Process::start("stack", &services.process)?;
    stack::run(&settings, &process.readiness, &process.shutdown)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
