//! Who a request comes from, and what they may do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name of a principal.
const MAX_NAME_BYTES: usize = 64;

/// Someone who has an API key.
#[derive(Clone, Debug)]
pub struct Principal {
    pub name: PrincipalName,
    pub scopes: Scopes,
}

/// The name of a principal: 1 to 64 characters of `A-Z a-z 0-9 . _ -`. It may be logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrincipalName(Arc<str>);

impl PrincipalName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
            return Ok(Self(text.into()));
        }
        Err(format!(
            "the name must be 1 to {MAX_NAME_BYTES} characters of A-Z a-z 0-9 . _ -"
        ))
    }
}

/// What a principal may do with one of its keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Create users.
    Create,
    /// Read users by their id or e-mail address, and list them.
    Read,
}

impl Scope {
    const ALL: [Self; 2] = [Self::Create, Self::Read];

    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
        }
    }
}

/// One scope or more, with commas between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    pub fn contain(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scope = |name| Scope::ALL.into_iter().find(|scope| scope.name() == name);
        let scopes: Option<_> = text.split(',').map(scope).collect();
        let scopes = scopes.ok_or("the scopes must be create, read or create,read")?;
        Ok(Self(scopes))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|scope| scope.name()).collect();
        f.write_str(&names.join(","))
    }
}
