//! The fields of a user at a terminal: options of `create`, columns of CSV files, columns of the table.
//!
//! A new field of a user changes no other file of this program.

use clap::Args;
use serde::{Deserialize, Deserializer, de::Error as _};
use users_client::{NewUser, User};
use uuid::{Uuid, uuid};

/// Makes ids out of rows (UUIDv5, RFC 9562 section 5.5). Never change it: an import that is started
/// again would not know its rows.
const ROW_NAMESPACE: Uuid = uuid!("2a1d6b0e-5d3c-4f6e-8a53-9f3f0b6f8c11");

/// A user to create, as it is typed or as a row of a CSV file.
#[derive(Args, Debug, Deserialize)]
pub struct UserFields {
    /// E-mail address: ASCII, at most 254 bytes, with a dotted domain.
    #[arg(long)]
    email: String,
    /// Name, of 1 to 200 characters.
    #[arg(long)]
    name: String,
    /// Id that makes repeating safe: creating again with the same id, e-mail and name creates
    /// nothing. A fresh one otherwise.
    #[arg(long)]
    #[serde(default, deserialize_with = "optional_id")]
    id: Option<Uuid>,
}

impl UserFields {
    /// The user to create, with a fresh id unless one is given.
    pub fn with_fresh_id(self) -> NewUser {
        let id = self.id.unwrap_or_else(Uuid::now_v7);
        self.with_id(id)
    }

    /// The user to create, with an id made out of its e-mail address and name unless one is given.
    /// The same row has the same id in every import.
    pub fn with_row_id(self) -> NewUser {
        let id = self.id.unwrap_or_else(|| {
            let row = format!("{}\0{}", self.email, self.name);
            Uuid::new_v5(&ROW_NAMESPACE, row.as_bytes())
        });
        self.with_id(id)
    }

    fn with_id(self, id: Uuid) -> NewUser {
        let Self { email, name, .. } = self;
        NewUser { id, email, name }
    }
}

/// Reads an id that may be missing, with blanks around it.
fn optional_id<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Uuid>, D::Error> {
    match String::deserialize(field)?.trim() {
        "" => Ok(None),
        id => Uuid::try_parse(id)
            .map(Some)
            .map_err(|_| D::Error::custom("id must be a UUID")),
    }
}

/// The columns of a user, in tables and in CSV files.
pub const COLUMNS: [&str; 3] = ["id", "email", "name"];

/// The columns that an imported file must have.
pub const REQUIRED_COLUMNS: [&str; 2] = ["email", "name"];

/// What the [`COLUMNS`] say of a user.
pub fn cells(user: &User) -> [&str; 3] {
    let User { id, email, name } = user;
    [id, email, name]
}
