//! Bodies.

use bolero::check;
use serde::Deserialize;

use super::{bytes_or_fragments, up_to};
use crate::body::decode;

const JSON: &[&str] = &[
    r#"{"email":"a@b.c","name":"Jane"}"#,
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "\n",
    "\"",
    "\\",
    "null",
    "true",
    "5",
    "-",
    "1e999",
    "é",
    "\u{feff}",
    "\0",
    r#""email""#,
    r#""x""#,
    r#""\ud800""#,
    r#""\u0000""#,
];
const MEMBERS: &[&str] = &[
    r#""email":"a@b.c""#,
    r#""name":"Jane""#,
    r#""email":"a@b.c","name":"Jane""#,
    r#""em\u0061il":"a@b.c""#,
    r#" "name" : "\ud83d\ude00" "#,
    r#""name":"\ud800""#,
    r#""name":"\u0000""#,
    r#""email":null"#,
    r#""name":5"#,
    r#""name":1e999"#,
    r#""name":["x"]"#,
    r#""Name":"x""#,
    r#""na/m~e":{"a":[]}"#,
    r#""":0"#,
    r#""é":"\ud800""#,
    r#""email":"#,
    r#""email""#,
    "",
    " ",
    "\u{feff}",
];

/// The body that these bytes stand for: an object of members, or anything.
fn body(input: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((0..128, bytes)) => {
            let member = |byte: &u8| MEMBERS[usize::from(*byte) % MEMBERS.len()];
            let members: Vec<_> = bytes.iter().map(member).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }
        Some((_, bytes)) => bytes_or_fragments(bytes, JSON),
        None => Vec::new(),
    }
}

/// What a body must be, as a derived decoder has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    email: String,
    name: String,
}

#[test]
fn body_has_no_fault_exactly_if_a_derived_decoder_takes_it() {
    check!().with_generator(up_to(8)).for_each(|input| {
        let bytes = body(input);
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        // It would take an array too.
        let derived = serde_json::from_slice::<User>(&bytes)
            .ok()
            .filter(|_| is_object);

        match (decode(&bytes), derived) {
            (Ok((user, faults)), Some(derived)) => {
                assert_eq!((user.email, user.name), (derived.email, derived.name));
                assert_eq!(faults, []);
            }
            (Ok((_, faults)), None) => {
                assert!((1..=18).contains(&faults.len()), "{faults:?}");
                let pointers = faults.iter().map(|fault| fault.pointer.as_deref().unwrap());
                let is_pointer = |pointer: &str| pointer == "#" || pointer.starts_with("#/");
                let mut pointers =
                    pointers.filter(|pointer| !is_pointer(pointer) || !pointer.is_ascii());
                assert_eq!(
                    pointers.next(),
                    None,
                    "{:?}",
                    String::from_utf8_lossy(&bytes)
                );
            }
            (Err(_), derived) => {
                assert!(derived.is_none(), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    });
}
