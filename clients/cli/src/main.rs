//! The users service at a terminal: creates, reads, lists and imports users over Cap'n Proto RPC.

mod import;
mod output;

use std::{io, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::Semaphore,
    task::spawn_blocking,
};
use users_client::{CallOptions, Endpoints, LocalClient, NewUser, Resolver};
use uuid::Uuid;

use crate::output::{Format, Outcome, Printer};

/// Creates, reads, lists and imports users at the users service.
///
/// Exit status: 0 done; 2 wrong usage; 3 refused (invalid, e-mail taken, id conflict, not found); 4
/// unavailable, nothing was written; 5 unknown, creating again with the same id settles it; 6 the
/// service has no such method.
#[derive(Debug, Parser)]
#[command(name = "users-cli", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Host and port of the users service; several with commas between them.
    #[arg(
        long,
        global = true,
        env = "USERS_ADDR",
        default_value = "127.0.0.1:4001"
    )]
    users_addr: Endpoints,

    /// Milliseconds that a call may take.
    #[arg(
        long,
        global = true,
        env = "REQUEST_TIMEOUT_MS",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    timeout_ms: u32,

    /// A table for people, or an object of JSON on each line for programs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a user.
    Create {
        /// E-mail address: ASCII, at most 254 bytes, with a dotted domain.
        #[arg(long)]
        email: String,
        /// Name, of 1 to 200 characters.
        #[arg(long)]
        name: String,
        /// Id that makes repeating safe: creating again with the same id, e-mail and name creates
        /// nothing. A fresh one otherwise.
        #[arg(long)]
        id: Option<Uuid>,
    },
    /// Read a user.
    Get {
        /// The user's id.
        id: String,
    },
    /// List users, in the order of their ids.
    List {
        /// Users in a page, 1 to 100.
        #[arg(long, default_value_t = 50)]
        page_size: u32,
        /// Where to begin: `nextPageToken` of the page before.
        #[arg(long, default_value = "")]
        page_token: String,
        /// Read page after page, to the last.
        #[arg(long)]
        all: bool,
    },
    /// Create the users of a CSV file, whose first line names its columns: email, name, and id if
    /// there are ids.
    ///
    /// A row without an id gets one made out of its e-mail address and name. So an import that was
    /// interrupted is simply started again: what is there already is only counted.
    Import(import::Import),
    /// Run commands from standard input over one connection, a JSON list of words on each line.
    Session,
}

/// A line of a session: a command without a program's name, and without options of the program.
#[derive(Debug, Parser)]
#[command(name = "session", no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("users-cli: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> ExitCode {
    let in_flight = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let client = LocalClient::new(Resolver::start(&cli.users_addr), in_flight);
    let options = CallOptions {
        timeout: Duration::from_millis(cli.timeout_ms.into()),
        traceparent: String::new(),
    };
    let printer = Printer::new(cli.output);
    let Command::Session = cli.command else {
        return obey(cli.command, &client, &options, &printer).await;
    };
    let mut status = ExitCode::SUCCESS;
    while let Some(line) = next_line().await {
        let words: Vec<String> = match serde_json::from_str(&line) {
            Ok(words) => words,
            Err(error) => {
                eprintln!("users-cli: not a JSON list of words: {error}");
                return ExitCode::from(2);
            }
        };
        let line = Line::try_parse_from(words).unwrap_or_else(|error| error.exit());
        status = obey(line.command, &client, &options, &printer).await;
    }
    status
}

/// Reading blocks, which the links to the service must not notice.
async fn next_line() -> Option<String> {
    let read = spawn_blocking(|| io::stdin().lines().next()?.ok());
    read.await.ok()?
}

/// Does what a command asks for, and returns the exit status.
async fn obey(
    command: Command,
    client: &LocalClient,
    options: &CallOptions,
    printer: &Printer,
) -> ExitCode {
    match command {
        Command::Create { email, name, id } => {
            let id = id.unwrap_or_else(Uuid::now_v7);
            let new = NewUser { id, email, name };
            printer.print(&Outcome::from(client.create_user(&new, options).await))
        }
        Command::Get { id } => printer.print(&Outcome::from(client.get_user(&id, options).await)),
        Command::List {
            page_size,
            mut page_token,
            all,
        } => loop {
            let listed = client.list_users(page_size, &page_token, options).await;
            let outcome = Outcome::from(listed);
            let status = printer.print(&outcome);
            match outcome {
                Outcome::Page {
                    next_page_token, ..
                } if all && !next_page_token.is_empty() => page_token = next_page_token,
                _ => return status,
            }
        },
        Command::Session => ExitCode::from(2),
        Command::Import(import) => import.run(client, options, printer).await,
    }
}
