//! The users service's process.

use std::{net::TcpListener, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use service_runtime::{logging, metrics, settings, signals};
use users_svc::{Command, Config};

fn main() -> anyhow::Result<ExitCode> {
    settings::load_dotenv()?;
    let config = Config::parse();
    logging::init(config.process.log_format, &config.process.rust_log);
    match config.command {
        Some(Command::Migrate) => {
            let applied = users_svc::migrate(&config.database()?)?;
            println!(
                "applied: {}",
                if applied.is_empty() {
                    "nothing to do".into()
                } else {
                    applied.join(", ")
                }
            );
        }
        Some(Command::Healthcheck) => return Ok(users_svc::healthcheck(&config)),
        None => {
            // Refuses a bad value before any socket opens.
            config.database()?;
            #[cfg(feature = "otlp")]
            let _exporter = service_runtime::trace::otlp::init("users-svc")?;
            metrics::serve(config.process.admin_addr)?;
            let shutdown = signals::on_signal()?;
            let listener = TcpListener::bind(config.rpc_addr)
                .with_context(|| format!("cannot listen on {} (RPC_ADDR)", config.rpc_addr))?;
            users_svc::run(&config, listener, &shutdown)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
