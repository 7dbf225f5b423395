//! The file of `API_KEYS_FILE`.

use std::collections::BTreeSet;

use bolero::check;
use credentials::{Content, CredentialFile};

use super::{bytes_or_fragments, up_to};
use crate::auth::key_list::{KeyDigest, KeyList};

/// SHA-256 of "a" and of "b".
const DIGESTS: [&str; 2] = [
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
];
const KEYS_FILE: &[&str] = &[
    "jane create ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n",
    "joe create,read 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\r\n",
    "jane read +a978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n",
    "jane",
    "J.o_e-1",
    "hunter2",
    "create",
    "read",
    "create,read",
    ",",
    "write",
    DIGESTS[0],
    DIGESTS[1],
    "CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB",
    "0",
    " ",
    " ",
    "\t",
    "\n",
    "\r",
    "#",
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "é",
    "\0",
    "+",
];

/// The name and the digest in a line of the file; `None`: it is wrong.
fn key_of(line: &str) -> Option<(&str, String)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [name, scopes, digest] = fields[..] else {
        return None;
    };
    let is_name = name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let are_scopes = scopes
        .split(',')
        .all(|scope| ["create", "read"].contains(&scope));
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    (is_name && are_scopes && is_digest).then(|| (name, digest.to_ascii_lowercase()))
}

#[test]
fn keys_file_is_accepted_exactly_if_each_of_its_lines_is_right() {
    check!().with_generator(up_to(12)).for_each(|input| {
        let bytes = bytes_or_fragments(input, KEYS_FILE);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().map(str::trim);
        let lines: Vec<_> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let expected: Option<Vec<_>> = lines.iter().map(|line| key_of(line)).collect();
        let expected = expected.filter(|keys| {
            let digests: BTreeSet<_> = keys.iter().map(|(_, digest)| digest).collect();
            digests.len() == keys.len() && !text.trim().is_empty()
        });

        let file = CredentialFile::new("API_KEYS_FILE", "/keys");
        match (KeyList::parse(&Content { file, bytes }), expected) {
            (Ok(list), Some(expected)) => {
                for (key, digest) in ["a", "b"].into_iter().zip(DIGESTS) {
                    assert_eq!(KeyDigest::of(key.as_bytes()).to_string(), digest);
                    let owner = list.find(key.as_bytes()).map(|owner| owner.name.as_str());
                    let expected = expected.iter().find(|(_, expected)| expected == digest);
                    assert_eq!(owner, expected.map(|(name, _)| *name), "{text:?}");
                }
                assert!(list.find(b"c").is_none());
            }
            (Err(error), None) => {
                let shown = error.to_string();
                let mut secrets = ["hunter2", "ca978112", "CA978112", "3e23e816"].into_iter();
                assert!(
                    !secrets.any(|secret| shown.contains(secret)),
                    "{text:?}: {shown}"
                );
            }
            (parsed, expected) => panic!("{text:?}: {parsed:?} instead of {expected:?}"),
        }
    });
}
