//! The gateway's process.

use std::{net::TcpListener, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use gateway::{Command, Config};
use service_runtime::{logging, metrics, settings, signals};

fn main() -> anyhow::Result<ExitCode> {
    settings::load_dotenv()?;
    let config = Config::parse();
    if let Some(Command::Healthcheck) = config.command {
        return Ok(gateway::healthcheck(&config));
    }
    logging::init(config.process.log_format, &config.process.rust_log);
    #[cfg(feature = "otlp")]
    let _exporter = service_runtime::trace::otlp::init("gateway")?;
    metrics::serve(config.process.admin_addr)?;
    let shutdown = signals::on_signal()?;
    let listener = TcpListener::bind(config.http_addr)
        .with_context(|| format!("cannot listen on {} (HTTP_ADDR)", config.http_addr))?;
    gateway::run(&config, listener, &shutdown)?;
    Ok(ExitCode::SUCCESS)
}
