//! What became of a call, for people and for programs.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use users_client::{CallError, CreateOutcome, ListOutcome};

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// What became of a call. The same in all our clients, as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "outcome",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Outcome {
    Created {
        user: User,
    },
    Replayed {
        user: User,
    },
    Found {
        user: User,
    },
    Page {
        users: Vec<User>,
        next_page_token: String,
    },
    Invalid {
        errors: Vec<FieldError>,
    },
    EmailTaken,
    IdConflict,
    NotFound,
    Unavailable {
        detail: String,
    },
    Unknown {
        detail: String,
    },
    Unimplemented {
        detail: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct User {
    id: String,
    email: String,
    name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    field: String,
    reason: String,
}

impl Outcome {
    /// The exit status it stands for.
    pub fn status(&self) -> u8 {
        match self {
            Self::Created { .. }
            | Self::Replayed { .. }
            | Self::Found { .. }
            | Self::Page { .. } => 0,
            Self::Invalid { .. } | Self::EmailTaken | Self::IdConflict | Self::NotFound => 3,
            Self::Unavailable { .. } => 4,
            Self::Unknown { .. } => 5,
            Self::Unimplemented { .. } => 6,
        }
    }

    /// For people, when there is no user to show.
    pub fn message(&self) -> String {
        match self {
            Self::Created { .. } => "created".into(),
            Self::Replayed { .. } => "created before".into(),
            Self::Found { .. } | Self::Page { .. } => String::new(),
            Self::Invalid { errors } => {
                let faults = errors.iter().map(|e| format!("{} {}", e.field, e.reason));
                faults.collect::<Vec<_>>().join("; ")
            }
            Self::EmailTaken => "another user has this e-mail address".into(),
            Self::IdConflict => "a user with this id has another e-mail address or name".into(),
            Self::NotFound => "there is no user with this id".into(),
            Self::Unavailable { detail }
            | Self::Unknown { detail }
            | Self::Unimplemented { detail } => detail.clone(),
        }
    }
}

/// Prints outcomes.
#[derive(Debug)]
pub struct Printer {
    pub format: Format,
}

impl Printer {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints an outcome, and returns the exit status it stands for.
    pub fn print(&self, outcome: &Outcome) -> ExitCode {
        let printed = match self.format {
            Format::Json => print_line(&serde_json::to_string(outcome).unwrap_or_default()),
            Format::Table => match outcome {
                Outcome::Created { user }
                | Outcome::Replayed { user }
                | Outcome::Found { user } => print_line(&table(std::slice::from_ref(user))),
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
            },
        };
        match printed {
            Ok(()) => ExitCode::from(outcome.status()),
            // Whoever read it has enough.
            Err(_) => ExitCode::FAILURE,
        }
    }
}

/// Prints a line; fails when nobody reads it any more.
pub fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

fn table(users: &[User]) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_header(["ID", "EMAIL", "NAME"]);
    for user in users {
        table.add_row([&user.id, &user.email, &user.name]);
    }
    table.to_string()
}

impl From<users_client::User> for User {
    fn from(users_client::User { id, email, name }: users_client::User) -> Self {
        Self { id, email, name }
    }
}

fn faults(errors: Vec<users_client::FieldError>) -> Outcome {
    let fault = |users_client::FieldError { field, reason }| FieldError { field, reason };
    Outcome::Invalid {
        errors: errors.into_iter().map(fault).collect(),
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::NotExecuted(_) => Self::Unavailable { detail },
            CallError::OutcomeUnknown(_) => Self::Unknown { detail },
            CallError::Unimplemented => Self::Unimplemented { detail },
        }
    }
}

impl From<Result<CreateOutcome, CallError>> for Outcome {
    fn from(called: Result<CreateOutcome, CallError>) -> Self {
        match called {
            Ok(CreateOutcome::Stored { user, replayed }) => {
                let user = user.into();
                if replayed {
                    Self::Replayed { user }
                } else {
                    Self::Created { user }
                }
            }
            Ok(CreateOutcome::Invalid(errors)) => faults(errors),
            Ok(CreateOutcome::EmailTaken) => Self::EmailTaken,
            Ok(CreateOutcome::IdConflict) => Self::IdConflict,
            Err(error) => error.into(),
        }
    }
}

impl From<Result<Option<users_client::User>, CallError>> for Outcome {
    fn from(called: Result<Option<users_client::User>, CallError>) -> Self {
        match called {
            Ok(Some(user)) => Self::Found { user: user.into() },
            Ok(None) => Self::NotFound,
            Err(error) => error.into(),
        }
    }
}

impl From<Result<ListOutcome, CallError>> for Outcome {
    fn from(called: Result<ListOutcome, CallError>) -> Self {
        match called {
            Ok(ListOutcome::Page {
                users,
                next_page_token,
            }) => Self::Page {
                users: users.into_iter().map(User::from).collect(),
                next_page_token,
            },
            Ok(ListOutcome::Invalid(errors)) => faults(errors),
            Err(error) => error.into(),
        }
    }
}
