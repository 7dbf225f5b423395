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
        // A file that is about to be written anew is empty for a moment. A comment alone says that no key is valid.
        if text.trim().is_empty() {
            let what = "is empty; a file without keys must have a comment (#)";
            return Err(content.file.error(what));
        }
        let mut keys = HashMap::new();
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

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

    use credentials::CredentialFile;

    use super::*;

    /// The SHA-256 of `abc` and of nothing (FIPS 180-4's examples).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> anyhow::Result<KeyList> {
        KeyList::parse(&Content {
            file: CredentialFile::new("API_KEYS_FILE", "/keys"),
            bytes: text.into(),
        })
    }

    #[test]
    fn key_is_found_by_its_digest_with_its_name_and_scopes() {
        let shouted = ABC.to_uppercase();
        let list =
            format!("# Ours\n\nshop\tcreate  {shouted}\r\n  # Theirs\nb.-_1 read,create {NOTHING}");
        let list = parse(&list).unwrap();
        let described = |key: &[u8]| {
            let principal = list.find(key)?;
            Some(format!("{} {}", principal.name.as_str(), principal.scopes))
        };
        assert_eq!(described(b"abc").unwrap(), "shop create");
        assert_eq!(described(b"").unwrap(), "b.-_1 read,create");
        assert_eq!(described(b"abd"), None);
    }

    #[test]
    fn digests_of_different_keys_and_their_hashes_differ() {
        let [first, second, same] = ["abc", "abd", "abc"].map(|key| KeyDigest::of(key.as_bytes()));
        let hash = |digest: &KeyDigest| BuildHasherDefault::<DefaultHasher>::new().hash_one(digest);

        assert_ne!(first, second);
        assert_ne!(hash(&first), hash(&second));
        assert_eq!(first, same);
        assert_eq!(hash(&first), hash(&same));
    }

    #[test]
    fn two_lines_of_one_name_are_two_keys_of_one_principal() {
        let list = parse(&format!("shop create {ABC}\nshop read {NOTHING}")).unwrap();
        let name = |key: &[u8]| list.find(key).unwrap().name.clone();
        assert_eq!(name(b"abc"), name(b""));
    }

    #[test]
    fn comment_alone_is_a_list_without_keys() {
        assert!(parse("# Nobody, for now").unwrap().find(b"abc").is_none());
    }

    #[test]
    fn wrong_line_is_named_by_its_number_and_not_shown() {
        let sixty_five = format!("s create {ABC}0");
        let signed = format!("s create +{}", &ABC[1..]);
        let (twice, long) = (format!("s create {ABC}"), "s".repeat(65));
        for (line, what) in [
            ("secret", "must be a name, scopes and the SHA-256 of a key"),
            (
                &format!("s create {ABC} secret"),
                "must be a name, scopes and",
            ),
            (
                &format!("secret/ create {ABC}"),
                "the name must be 1 to 64 characters",
            ),
            (
                &format!("{long} create {ABC}"),
                "the name must be 1 to 64 characters",
            ),
            (
                &format!("s secret {ABC}"),
                "the scopes must be create, read or create,read",
            ),
            (
                &format!("s create, {ABC}"),
                "the scopes must be create, read or create,read",
            ),
            (
                "s create secret",
                "the SHA-256 of the key must be 64 hexadecimal digits",
            ),
            (&sixty_five, "must be 64 hexadecimal digits"),
            (&signed, "must be 64 hexadecimal digits"),
            (&twice, "the same key must not be in two lines"),
        ] {
            let list = format!("# Ours\nshop read {ABC}\n\n{line}\nsecret");
            let error = parse(&list).unwrap_err().to_string();
            assert!(
                error.starts_with("API_KEYS_FILE=/keys: line 4: "),
                "{error}"
            );
            assert!(error.contains(what), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn file_that_is_empty_is_refused() {
        for empty in ["", "\n", " \n\t\n"] {
            assert!(parse(empty).is_err(), "{empty:?}");
        }
    }
}
