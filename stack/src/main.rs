//! `cargo run`: the whole system from one command.

use std::process::ExitCode;

use clap::Parser as _;
use service_runtime::{logging, process::Process, settings};
use stack::Settings;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // Bad settings explain themselves, as `--help` would.
        Err(error) if error.is::<clap::Error>() => {
            eprint!("{error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    settings::load_dotenv()?;
    let settings = Settings::parse();
    // The services' own settings say how to log.
    let services = <gateway::Settings as clap::Parser>::try_parse_from(["gateway"])?;
    logging::init(services.process.log_format, &services.process.rust_log);
    let process = Process::start("stack", &services.process)?;
    stack::run(&settings, &process.shutdown)
}
