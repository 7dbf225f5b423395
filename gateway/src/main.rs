//! The gateway's process.

use std::process::ExitCode;

use gateway::{Command, Settings};
use service_runtime::process::{self, Process, listen};
use service_runtime::{logging, settings};

fn main() -> ExitCode {
    process::main(run)
}

fn run() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    if let Some(Command::Healthcheck) = settings.command {
        return Ok(gateway::healthcheck(&settings));
    }
    logging::init(settings.process.log_format, &settings.process.rust_log);
    // Refuses bad files before any socket opens.
    settings.users_tls.client()?;
    let process = Process::start("gateway", &settings.process)?;
    let listener = listen("HTTP_ADDR", settings.http_addr)?;
    gateway::run(&settings, listener, &process.shutdown)?;
    Ok(ExitCode::SUCCESS)
}
