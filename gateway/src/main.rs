//! The gateway's process.

use std::process::ExitCode;

use clap::CommandFactory as _;
use gateway::{Command, Settings};
use service_runtime::process::{self, Process, listen};
use service_runtime::{logging, settings};

fn main() -> ExitCode {
    process::main("gateway", run)
}

fn run() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    match &settings.command {
        Some(Command::Healthcheck) => return Ok(gateway::healthcheck(&settings)),
        Some(Command::Keys { name, scopes }) => return gateway::make_key(name, scopes),
        None => {}
    }
    logging::init(
        "gateway",
        settings.process.log_format,
        &settings.process.rust_log,
    );
    settings::warn_of_unknown(&[Settings::command()], &[]);
    // Refuses bad files before any socket opens.
    settings.check()?;
    let process = Process::start("gateway", &settings.process)?;
    let listener = listen("HTTP_ADDR", settings.http_addr)?;
    gateway::run(&settings, listener, &process.readiness, &process.shutdown)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
