//! The users service's process.

use std::{net::TcpListener, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use service_runtime::{logging, metrics, settings, signals};
use users_svc::{Command, Settings};

fn main() -> anyhow::Result<ExitCode> {
    settings::load_dotenv()?;
    let settings = Settings::parse();
    logging::init(settings.process.log_format, &settings.process.rust_log);
    match settings.command {
        Some(Command::Migrate) => {
            let applied = users_svc::migrate(&settings.database()?)?;
            println!(
                "applied: {}",
                if applied.is_empty() {
                    "nothing to do".into()
                } else {
                    applied.join(", ")
                }
            );
        }
        Some(Command::Healthcheck) => return Ok(users_svc::healthcheck(&settings)),
        None => {
            // Refuses a bad value before any socket opens.
            settings.database()?;
            #[cfg(feature = "otlp")]
            let _exporter = service_runtime::trace::otlp::init("users-svc")?;
            metrics::serve(settings.process.admin_addr)?;
            let shutdown = signals::shutdown_on_signal()?;
            let listener = TcpListener::bind(settings.rpc_addr)
                .with_context(|| format!("cannot listen on {} (RPC_ADDR)", settings.rpc_addr))?;
            users_svc::run(&settings, listener, &shutdown)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
