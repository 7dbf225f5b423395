//! What became of a call: as JSON, in words, and as an exit status.

use serde::Serialize;
use users_client::{CallError, CreateOutcome, FieldError, ListOutcome, User};
use uuid::Uuid;

use crate::status;

/// How to name the fields of a user or a list in a message.
#[derive(Clone, Copy)]
pub enum FieldNames {
    /// As options are typed: `--page-size`.
    Options,
    /// As they are: columns of a file.
    Columns,
}

impl FieldNames {
    /// `field` in camelCase, or as an option in kebab-case. Empty: the request as a whole.
    fn name(self, field: &str) -> String {
        match self {
            _ if field.is_empty() => "the request".into(),
            Self::Columns => field.to_owned(),
            Self::Options => {
                let kebab_case = |c: char| {
                    let hyphen = c.is_ascii_uppercase().then_some('-');
                    hyphen.into_iter().chain([c.to_ascii_lowercase()])
                };
                format!(
                    "--{}",
                    field.chars().flat_map(kebab_case).collect::<String>()
                )
            }
        }
    }
}

/// What became of a call. As JSON, it is the same in all our clients.
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
        /// Of the user to create: creating it again settles what became of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    Unimplemented {
        detail: String,
    },
}

impl Outcome {
    /// The outcome of creating the user with this id.
    pub fn of_create(created: users_client::Result<CreateOutcome>, new_id: Uuid) -> Self {
        let mut outcome = Self::from(created);
        if let Self::Unknown { id, .. } = &mut outcome {
            *id = Some(new_id.to_string());
        }
        outcome
    }

    /// The exit status that stands for it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Created { .. }
            | Self::Replayed { .. }
            | Self::Found { .. }
            | Self::Page { .. } => status::DONE,
            Self::Invalid { .. } | Self::EmailTaken | Self::IdConflict | Self::NotFound => {
                status::REFUSED
            }
            Self::Unavailable { .. } => status::UNAVAILABLE,
            Self::Unknown { .. } => status::UNKNOWN,
            Self::Unimplemented { .. } => status::UNIMPLEMENTED,
        }
    }

    /// Its name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Replayed { .. } => "replayed",
            Self::Found { .. } => "found",
            Self::Page { .. } => "page",
            Self::Invalid { .. } => "invalid",
            Self::EmailTaken => "emailTaken",
            Self::IdConflict => "idConflict",
            Self::NotFound => "notFound",
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "unknown",
            Self::Unimplemented { .. } => "unimplemented",
        }
    }

    /// What to tell people when there is no user to show.
    pub fn message(&self, names: FieldNames) -> String {
        match self {
            Self::Created { .. }
            | Self::Replayed { .. }
            | Self::Found { .. }
            | Self::Page { .. } => String::new(),
            Self::Invalid { errors } => {
                let error = |e: &FieldError| format!("{} {}", names.name(&e.field), e.reason);
                let errors = errors.iter().map(error);
                errors.collect::<Vec<_>>().join("; ")
            }
            Self::EmailTaken => "another user has this e-mail address".into(),
            Self::IdConflict => "a user with this id has another e-mail address or name".into(),
            Self::NotFound => "there is no such user".into(),
            Self::Unknown {
                detail,
                id: Some(id),
            } => format!("{detail}; to settle it, create the same user again with --id {id}"),
            Self::Unavailable { detail }
            | Self::Unknown { detail, .. }
            | Self::Unimplemented { detail } => detail.clone(),
        }
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::NotExecuted(_) => Self::Unavailable { detail },
            CallError::OutcomeUnknown(_) => Self::Unknown { detail, id: None },
            CallError::Unimplemented => Self::Unimplemented { detail },
        }
    }
}

impl<T: Into<Outcome>> From<Result<T, CallError>> for Outcome {
    fn from(called: Result<T, CallError>) -> Self {
        called.map_or_else(Self::from, T::into)
    }
}

impl From<CreateOutcome> for Outcome {
    fn from(outcome: CreateOutcome) -> Self {
        match outcome {
            CreateOutcome::Stored { user, replayed } if replayed => Self::Replayed { user },
            CreateOutcome::Stored { user, .. } => Self::Created { user },
            CreateOutcome::Invalid(errors) => Self::Invalid { errors },
            CreateOutcome::EmailTaken => Self::EmailTaken,
            CreateOutcome::IdConflict => Self::IdConflict,
        }
    }
}

impl From<Option<User>> for Outcome {
    fn from(user: Option<User>) -> Self {
        user.map_or(Self::NotFound, |user| Self::Found { user })
    }
}

impl From<ListOutcome> for Outcome {
    fn from(outcome: ListOutcome) -> Self {
        match outcome {
            ListOutcome::Page {
                users,
                next_page_token,
            } => Self::Page {
                users,
                next_page_token,
            },
            ListOutcome::Invalid(errors) => Self::Invalid { errors },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_at_fault_are_named_as_they_were_given() {
        let error = |field: &str| FieldError {
            field: field.into(),
            reason: "must be right".into(),
        };
        let invalid = Outcome::Invalid {
            errors: vec![error("pageSize"), error("email"), error("")],
        };
        let of_options =
            "--page-size must be right; --email must be right; the request must be right";
        assert_eq!(invalid.message(FieldNames::Options), of_options);
        let of_columns = "pageSize must be right; email must be right; the request must be right";
        assert_eq!(invalid.message(FieldNames::Columns), of_columns);
    }

    #[test]
    fn outcome_has_the_same_name_in_json() {
        let outcomes = [
            Outcome::EmailTaken,
            Outcome::IdConflict,
            Outcome::NotFound,
            CallError::NotExecuted(String::new()).into(),
            CallError::OutcomeUnknown(String::new()).into(),
            CallError::Unimplemented.into(),
        ];
        for outcome in outcomes {
            let json = serde_json::to_value(&outcome).unwrap();
            assert_eq!(json["outcome"], outcome.name());
        }
    }
}
