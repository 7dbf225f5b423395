//! What became of a call: as JSON, in words, and as an exit status.

use serde::Serialize;
use users_client::{CallError, CreateOutcome, FieldError, ListOutcome, User};
use uuid::Uuid;

/// The exit status of a create that may have written.
pub const UNKNOWN_STATUS: u8 = 5;

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
            | Self::Page { .. } => 0,
            Self::Invalid { .. } | Self::EmailTaken | Self::IdConflict | Self::NotFound => 3,
            Self::Unavailable { .. } => 4,
            Self::Unknown { .. } => UNKNOWN_STATUS,
            Self::Unimplemented { .. } => 6,
        }
    }

    /// What to tell people when there is no user to show.
    pub fn message(&self) -> String {
        match self {
            Self::Created { .. } => "created".into(),
            Self::Replayed { .. } => "created before".into(),
            Self::Found { .. } | Self::Page { .. } => String::new(),
            Self::Invalid { errors } => {
                let errors = errors.iter().map(|e| format!("{} {}", e.field, e.reason));
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
