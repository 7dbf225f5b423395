//! The command line: commands, and the options that all of them have.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use users_client::Endpoints;

use crate::import::Import;
use crate::list::List;
use crate::output::Output;
use crate::user::UserFields;
use crate::{status, tls::Tls};

/// Creates, reads, lists and imports users at the users service.
#[derive(Debug, Parser)]
#[command(name = "users-cli", version, after_long_help = status::help())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Host and port of the users service; several with commas between them.
    #[arg(
        long,
        global = true,
        env = "USERS_ADDR",
        default_value = "127.0.0.1:4001",
        value_name = "HOST:PORT"
    )]
    pub users_addr: Endpoints,

    /// Milliseconds that a call may take.
    #[arg(
        long,
        global = true,
        env = "REQUEST_TIMEOUT_MS",
        default_value_t = 5000,
        value_name = "MS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub timeout_ms: u32,

    #[command(flatten)]
    pub tls: Tls,

    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum Command {
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
    List(List),
    Import(Import),
    /// Print the script with which a shell completes this command line.
    ///
    /// For bash, for example: users-cli completions bash >
    /// ~/.local/share/bash-completion/completions/users-cli
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page; to read it: users-cli man | man -l -
    Man,
}
