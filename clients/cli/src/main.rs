//! The users service at a terminal: creates, reads, lists and imports users over Cap'n Proto RPC.

mod import;
mod outcome;
mod output;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use credentials::{ClientTls, all_or_none};
use tokio::runtime::LocalRuntime;
use tokio::sync::Semaphore;
use users_client::{CallOptions, Endpoints, LocalClient, Resolver};

use crate::{outcome::Outcome, output::Format, user::UserFields};

/// The exit status of a command line that is wrong, as clap has it.
const WRONG_USAGE: u8 = 2;

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

    #[command(flatten)]
    tls: Tls,

    /// A table for people, or an object of JSON on each line for programs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How to prove who calls.
#[derive(Args, Debug)]
struct Tls {
    /// File with this client's certificate, in PEM. With it, calls are made over mutual TLS.
    #[arg(
        long = "tls-cert",
        global = true,
        env = "USERS_TLS_CERT",
        value_name = "FILE"
    )]
    cert: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM. It may be the same file.
    #[arg(
        long = "tls-key",
        global = true,
        env = "USERS_TLS_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,

    /// File with the CAs that sign the service's certificate, in PEM.
    #[arg(
        long = "tls-ca",
        global = true,
        env = "USERS_TLS_CA",
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,
}

impl Tls {
    fn client(&self) -> anyhow::Result<Option<ClientTls>> {
        let files = all_or_none([
            ("USERS_TLS_CERT", self.cert.as_ref()),
            ("USERS_TLS_KEY", self.key.as_ref()),
            ("USERS_TLS_CA", self.ca.as_ref()),
        ]);
        files?.map(ClientTls::mutual).transpose()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a user.
    Create(UserFields),
    /// Read a user.
    Get {
        /// The user's id.
        id: String,
    },
    /// Find the user who has an e-mail address, in any letter case.
    Find {
        /// The user's e-mail address.
        email: String,
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
    Import(import::Import),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let tls = match cli.tls.client() {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("users-cli: {error:#}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match LocalRuntime::new() {
        Ok(runtime) => runtime.block_on(run(cli, tls)),
        Err(error) => {
            eprintln!("users-cli: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out the command, and returns the exit status.
async fn run(cli: Cli, tls: Option<ClientTls>) -> ExitCode {
    let format = cli.output;
    let in_flight = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let client = LocalClient::new(Resolver::start(&cli.users_addr, tls), in_flight);
    let options = CallOptions {
        timeout: Duration::from_millis(cli.timeout_ms.into()),
        traceparent: String::new(),
    };
    match cli.command {
        Command::Create(user) => {
            let new = user.with_fresh_id();
            let created = client.create_user(&new, &options).await;
            format.print(&Outcome::of_create(created, new.id))
        }
        Command::Get { id } => {
            let found = client.get_user(&id, &options).await;
            format.print(&found.into())
        }
        Command::Find { email } => {
            let found = client.find_user(&email, &options).await;
            format.print(&found.into())
        }
        Command::List {
            page_size,
            mut page_token,
            all,
        } => loop {
            let listed = client.list_users(page_size, &page_token, &options).await;
            let outcome = Outcome::from(listed);
            let status = format.print(&outcome);
            match outcome {
                Outcome::Page {
                    next_page_token, ..
                } if all && !next_page_token.is_empty() => page_token = next_page_token,
                _ => return status,
            }
        },
        Command::Import(import) => import.run(&client, &options, format).await,
    }
}
