//! The gateway's process.

use std::{net::TcpListener, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use gateway::{Command, Settings};
use service_runtime::{logging, metrics, settings, signals};

fn main() -> anyhow::Result<ExitCode> {
    settings::load_dotenv()?;
    let settings = Settings::parse();
    if let Some(Command::Healthcheck) = settings.command {
        return Ok(gateway::healthcheck(&settings));
    }
    logging::init(settings.process.log_format, &settings.process.rust_log);
    #[cfg(feature = "otlp")]
    let _exporter = service_runtime::trace::otlp::init("gateway")?;
    metrics::serve(settings.process.admin_addr)?;
    let shutdown = signals::shutdown_on_signal()?;
    let listener = TcpListener::bind(settings.http_addr)
        .with_context(|| format!("cannot listen on {} (HTTP_ADDR)", settings.http_addr))?;
    gateway::run(&settings, listener, &shutdown)?;
    Ok(ExitCode::SUCCESS)
}
