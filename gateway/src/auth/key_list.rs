//! `API_KEYS_FILE`: the API keys that are accepted, and whose they are.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use credentials::Content;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::principal::Principal;

/// The API keys that are accepted, by their digests.
#[derive(Debug)]
pub struct KeyList(HashMap<KeyDigest, Arc<Principal>>);

impl KeyList {
    /// Reads lines of the form `name scopes sha256-of-key`. Blank lines and those that begin with `#` are skipped.
    ///
    /// The error names the first line that is wrong, and shows nothing of it.
    pub fn parse(content: &Content) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(&content.bytes);
        let mut keys = HashMap::new();
        // A file that is about to be written anew is empty for a moment. A comment alone says that no key is valid.
        if text.trim().is_empty() {
            let what = "is empty; a file without keys must have a comment (#)";
            return Err(content.file.error(what));
        }
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |what: String| content.file.error(format_args!("line {number}: {what}"));
            let (digest, principal) = parse_line(line).map_err(error)?;
            if keys.insert(digest, Arc::new(principal)).is_some() {
                return Err(error("the same key must not be in two lines".into()));
            }
        }
        Ok(Self(keys))
    }

    /// Whose key this is.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<Principal>> {
        self.0.get(&KeyDigest::of(key))
    }
}

fn parse_line(line: &str) -> Result<(KeyDigest, Principal), String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [name, scopes, digest] = fields[..] else {
        return Err(
            "must be a name, scopes and the SHA-256 of a key, as `gateway keys` prints it".into(),
        );
    };
    let (name, scopes) = (name.parse()?, scopes.parse()?);
    Ok((digest.parse()?, Principal { name, scopes }))
}

/// The SHA-256 of an API key. A key has 256 random bits, so that a salt or a slow hash would add nothing.
///
/// Digests are compared in constant time. The way to the one digest that is compared takes a time that depends
/// on the digest of what a client sent, by a hash under a random key; a client can neither choose digests nor
/// would it help to know one, because a key cannot be computed from it.
#[derive(Clone, Debug, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl FromStr for KeyDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A number may have a sign, too.
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let half = |range| u128::from_str_radix(text.get(range)?, 16).ok();
        match (half(0..32), half(32..64)) {
            (Some(high), Some(low)) if is_hex => {
                let mut digest = [0; 32];
                digest[..16].copy_from_slice(&high.to_be_bytes());
                digest[16..].copy_from_slice(&low.to_be_bytes());
                Ok(Self(digest))
            }
            _ => Err("the SHA-256 of the key must be 64 hexadecimal digits".into()),
        }
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
