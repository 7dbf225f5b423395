//! Prints outcomes, for people or for programs.

use std::process::ExitCode;
use std::{io, mem};

use clap::{Args, ValueEnum};
use users_client::User;

use crate::outcome::{FieldNames, Outcome};
use crate::table::{Table, csv};
use crate::user::{COLUMNS, cells};
use crate::{stderr, stdout};

/// How to print.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// How to print users, and what became of a call.
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Print no line with the names of the columns. JSON has none.
    #[arg(long, global = true)]
    pub no_headers: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Columns for people. Errors go to the standard error.
    Table,
    /// One object on each line, errors included, for programs such as jq.
    Json,
    /// Comma-separated values, which `import` takes too. Errors go to the standard error.
    Csv,
}

impl Output {
    /// Prints an outcome, and returns the exit status that stands for it.
    pub fn print(self, outcome: &Outcome) -> ExitCode {
        stdout::status_after(self.printer().print(outcome), outcome.status())
    }

    pub fn printer(self) -> Printer {
        Printer {
            format: self.format,
            header_is_due: !self.no_headers,
            table: Table::new(),
        }
    }

    /// Tells where to go on after a page, unless the page says so itself.
    pub fn tell_next_page(self, token: &str) {
        if self.format != Format::Json {
            stderr::print(format_args!("more: --page-token {token}"));
        }
    }
}

/// Prints outcomes one after the other: users as rows of one table.
pub struct Printer {
    format: Format,
    /// The line with the names of the columns is still to be printed.
    header_is_due: bool,
    table: Table,
}

impl Printer {
    /// Users go to the standard output. Everything else goes there only as JSON, otherwise to the standard error.
    pub fn print(&mut self, outcome: &Outcome) -> io::Result<()> {
        if self.format == Format::Json {
            let json = serde_json::to_string(outcome).unwrap_or_default();
            return stdout::print(&(json + "\n"));
        }
        match outcome {
            // Of a create, people and scripts want to know which of the two it was.
            Outcome::Created { user } | Outcome::Replayed { user } => {
                self.print_rows(&["outcome"], &[row(user, &[outcome.name()])])
            }
            Outcome::Found { user } => self.print_rows(&[], &[row(user, &[])]),
            Outcome::Page { users, .. } => {
                let rows: Vec<_> = users.iter().map(|user| row(user, &[])).collect();
                self.print_rows(&[], &rows)
            }
            _ => {
                let message = outcome.message(FieldNames::Options);
                stderr::print(format_args!("users-cli: {message}"));
                Ok(())
            }
        }
    }

    fn print_rows(&mut self, more_columns: &[&str], users: &[Vec<&str>]) -> io::Result<()> {
        let columns = [&COLUMNS[..], more_columns].concat();
        let for_people: Vec<_> = columns.iter().map(|column| column.to_uppercase()).collect();
        let header = match self.format {
            Format::Csv => columns,
            _ => for_people.iter().map(String::as_str).collect(),
        };

        let is_due = mem::take(&mut self.header_is_due);
        let mut rows = Vec::from_iter(is_due.then_some(header));
        rows.extend_from_slice(users);
        stdout::print(&match self.format {
            Format::Csv => csv(&rows),
            _ => self.table.render(&rows),
        })
    }
}

fn row<'a>(user: &'a User, more: &[&'a str]) -> Vec<&'a str> {
    [&cells(user)[..], more].concat()
}
