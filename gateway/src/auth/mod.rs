//! Who sends a request, by its API key (RFC 6750), and whether a route is for them.

pub mod key_list;
pub mod new_key;
pub mod principal;

use std::path::Path;
use std::sync::Arc;

use credentials::{CredentialFile, Watched};
use warp::http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;
use crate::response::set;
use key_list::KeyList;
use principal::{Principal, Scope};

/// Who may use a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everyone, with and without an API key.
    Open,
    /// Those whose key has this scope; where no keys are configured, everyone.
    Scoped(Scope),
    /// Those whose key has this scope; where no keys are configured, the route does not exist.
    KeyOnly(Scope),
}

/// Whose API keys are accepted. Clones share the list.
#[derive(Clone)]
pub struct Auth {
    /// `None`: no keys are configured, and everyone is anonymous.
    keys: Option<Watched<KeyList>>,
}

impl Auth {
    /// Reads the file with the API keys, and watches it. Without a file everyone is anonymous.
    ///
    /// Fails when the file cannot be used; the error names it, its variable and the line.
    pub fn start(api_keys_file: Option<&Path>) -> anyhow::Result<Self> {
        let watch = |path| {
            let file = CredentialFile::new("API_KEYS_FILE", path);
            let parse = |contents: &[_]| KeyList::parse(&contents[0]);
            Watched::start(vec![file], parse, |_| false)
        };
        let keys = api_keys_file.map(watch).transpose()?;
        Ok(Self { keys })
    }

    /// Whether API keys are configured.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Whose API key a request has; `None` where no keys are configured. What is wrong with the key, or that
    /// there is none, matters only to a route that is not open.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Problem> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let key = bearer_token(headers).ok_or_else(Problem::api_key_required)?;
        let keys = keys.current();
        let principal = keys.find(key).ok_or_else(Problem::unknown_api_key)?;
        Ok(Some(principal.clone()))
    }

    /// Whether there is a route with this access.
    pub fn offers(&self, access: Access) -> bool {
        self.has_keys() || !matches!(access, Access::KeyOnly(_))
    }
}

impl Access {
    /// Lets a request in, and returns whose it is, or says why not. `caller` is what
    /// [`Auth::authenticate`] found.
    pub fn admit(
        self,
        caller: Result<Option<Arc<Principal>>, Problem>,
    ) -> Result<Option<Arc<Principal>>, Problem> {
        let (Self::Scoped(needed) | Self::KeyOnly(needed)) = self else {
            return Ok(caller.unwrap_or_default());
        };
        let caller = caller?;
        if let Some(principal) = &caller
            && !principal.scopes.contain(needed)
        {
            return Err(insufficient_scope(needed));
        }
        Ok(caller)
    }
}

fn insufficient_scope(needed: Scope) -> Problem {
    let mut problem = Problem::insufficient_scope();
    let challenge = format!(
        r#"Bearer realm="users", error="insufficient_scope", scope="{}""#,
        needed.name()
    );
    set(&mut problem.headers, header::WWW_AUTHENTICATE, challenge);
    problem
}

/// The token of the one `Authorization: Bearer` header (RFC 6750, section 2.1).
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next().map(HeaderValue::as_bytes), values.next()) else {
        return None;
    };
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(header::AUTHORIZATION, value);
        }
        let token = bearer_token(&headers)?;
        Some(String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn token_is_what_follows_the_scheme_in_any_letter_case() {
        for value in ["Bearer usk_1", "bearer usk_1", "BEARER   usk_1"] {
            assert_eq!(token_of(&[value]).as_deref(), Some("usk_1"), "{value}");
        }
    }

    #[test]
    fn header_of_another_form_has_no_token() {
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["usk_1"],
            &["Basic dXNrXzE="],
            &["Bearerusk_1"],
            &["Bearer usk_1", "Bearer usk_1"],
            &["Bearer usk_1", "Basic dXNrXzE="],
        ] {
            assert_eq!(token_of(values), None, "{values:?}");
        }
    }
}
