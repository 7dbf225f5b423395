//! Prints outcomes, for people or for programs.

use std::io::Write as _;
use std::process::ExitCode;
use std::{io, slice};

use clap::ValueEnum;

use crate::{outcome::Outcome, user::table};

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

impl Format {
    /// Prints an outcome, and returns the exit status that stands for it.
    pub fn print(self, outcome: &Outcome) -> ExitCode {
        let printed = match self {
            Self::Json => print_line(&serde_json::to_string(outcome).unwrap_or_default()),
            Self::Table => print_for_people(outcome),
        };
        match printed {
            Ok(()) => ExitCode::from(outcome.status()),
            // The reader of a pipe has left.
            Err(_) => ExitCode::FAILURE,
        }
    }
}

/// Users go to the standard output, everything else goes to the standard error.
fn print_for_people(outcome: &Outcome) -> io::Result<()> {
    match outcome {
        Outcome::Created { user } | Outcome::Replayed { user } | Outcome::Found { user } => {
            print_line(&table(slice::from_ref(user)))
        }
        Outcome::Page {
            users,
            next_page_token,
        } => {
            if !next_page_token.is_empty() {
                eprintln!("more: --page-token {next_page_token}");
            }
            print_line(&table(users))
        }
        _ => {
            eprintln!("users-cli: {}", outcome.message());
            Ok(())
        }
    }
}

/// Prints a line; fails when nobody reads it any more.
pub fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
