//! The users service at a terminal: creates, reads, lists and imports users over Cap'n Proto RPC.

mod args;
mod import;
mod list;
mod manual;
mod outcome;
mod output;
mod status;
mod stderr;
mod stdout;
mod table;
mod tls;
mod user;
mod waiting;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use mimalloc::MiMalloc;
use tokio::runtime::LocalRuntime;
use tokio::sync::Semaphore;
use users_client::{CallOptions, ClientTls, LocalClient, Resolver};

use crate::args::{Cli, Command};
use crate::outcome::Outcome;
use crate::waiting::tell_when_slow;

/// An import makes many small allocations, which mimalloc serves faster than glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Completions { shell } => return stdout::finish(&manual::completions(shell)),
        Command::Man => return stdout::finish(&manual::man_page()),
        _ => {}
    }
    let tls = match cli.tls.client(&matches) {
        Ok(tls) => tls,
        Err(error) => {
            stderr::print(format_args!("users-cli: {error:#}"));
            return ExitCode::from(status::WRONG_USAGE);
        }
    };
    match LocalRuntime::new() {
        Ok(runtime) => runtime.block_on(run(cli, tls)),
        Err(error) => {
            stderr::print(format_args!("users-cli: {error}"));
            ExitCode::from(status::FAILED)
        }
    }
}

/// Carries out the command, and returns the exit status.
async fn run(cli: Cli, tls: Option<ClientTls>) -> ExitCode {
    let output = cli.output;
    let in_flight = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let client = &LocalClient::new(Resolver::start(&cli.users_addr, tls), in_flight);
    let options = &CallOptions {
        timeout: Duration::from_millis(cli.timeout_ms.into()),
        traceparent: String::new(),
    };
    match cli.command {
        Command::Create(user) => {
            let new = user.with_fresh_id();
            let created = tell_when_slow(client.create_user(&new, options), client).await;
            output.print(&Outcome::of_create(created, new.id))
        }
        Command::Get { id } => {
            let found = tell_when_slow(client.get_user(&id, options), client).await;
            output.print(&found.into())
        }
        Command::Find { email } => {
            let found = tell_when_slow(client.find_user(&email, options), client).await;
            output.print(&found.into())
        }
        Command::List(list) => list.run(client, options, output).await,
        Command::Import(import) => import.run(client, options, output).await,
        // They need no service, and have been carried out.
        Command::Completions { .. } | Command::Man => ExitCode::SUCCESS,
    }
}
