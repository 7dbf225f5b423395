//! `gateway keys`, which makes API keys.

use std::process::{Command, Output};

fn keys(name: &str, scopes: &str) -> Output {
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_gateway"));
    // Without the settings of a file `.env`.
    let gateway = gateway.args(["keys", name, scopes]).current_dir("/");
    gateway.output().unwrap()
}

/// The line for the file, and the key.
fn make_key() -> [String; 2] {
    let made = keys("shop", "create,read");
    assert!(made.status.success(), "{made:?}");
    let [line, shown] = [made.stdout, made.stderr].map(|text| String::from_utf8(text).unwrap());
    [line, shown.trim().rsplit('\n').next().unwrap().to_owned()]
}

#[test]
fn made_key_is_unlike_any_other_and_only_its_digest_is_for_the_file() {
    let [[line, key], [other_line, other_key]] = [make_key(), make_key()];

    assert_ne!(key, other_key);
    assert_ne!(line, other_line);
    let digits = key.strip_prefix("usk_").unwrap();
    assert_eq!(digits.len(), 64, "{key}");
    assert!(line.starts_with("shop create,read "), "{line}");
    assert!(!line.contains(digits), "{line}");
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn key_of_a_bad_name_or_scope_is_not_made() {
    for [name, scopes] in [
        ["a b", "read"],
        ["", "read"],
        ["shop", "write"],
        ["shop", ""],
    ] {
        let made = keys(name, scopes);
        assert!(!made.status.success() && made.stdout.is_empty(), "{made:?}");
    }
}
