//! The gateway's process.

use std::process::ExitCode;

use gateway::{Command, Settings};
use service_runtime::{logging, process, settings};

fn main() -> anyhow::Result<ExitCode> {
    let settings: Settings = settings::parse()?;
    if let Some(Command::Healthcheck) = settings.command {
        return Ok(gateway::healthcheck(&settings));
    }
    logging::init(settings.process.log_format, &settings.process.rust_log);
    let process = process::Process::start("gateway", &settings.process)?;
    let listener = process::listen("HTTP_ADDR", settings.http_addr)?;
    gateway::run(&settings, listener, &process.shutdown)?;
    Ok(ExitCode::SUCCESS)
}
