//! The rules of a user.

use bolero::check;
use uuid::Uuid;

use super::{text_or_fragments, up_to};
use crate::user::{Email, Name, UserId};

const EMAIL: &[&str] = &[
    "jane@example.com",
    "jane",
    "a",
    "Z9",
    ".",
    ".",
    "-",
    "_",
    "+'",
    "@",
    "@",
    "@b.c",
    "@example.com",
    "\"a b\"",
    "\"",
    "(x)",
    "[",
    "[127.0.0.1]",
    "<",
    ">",
    "\\",
    ",",
    " ",
    "\t",
    "\r\n",
    "\0",
    "\u{a0}",
    "\u{2003}",
    "é",
    "İ",
    "K",
    "xn--a",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "bbbbbbbb.bbbbbbbb.bbbbbbb.bbbbbbb.bbbbbbb.bbbbbbb.bbbbbbb.bbbbbbb",
];

/// The rule of an e-mail address as the contract and the OpenAPI document have it.
fn is_email(text: &str) -> bool {
    let is_atom = |atom: &str| {
        let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
        !atom.is_empty() && atom.bytes().all(is_atext)
    };
    let is_label = |label: &str| {
        let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_host_byte)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    text.len() <= 254
        && local.len() <= 64
        && local.split('.').all(is_atom)
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

#[test]
fn address_is_accepted_exactly_if_it_keeps_the_rule() {
    check!().with_generator(up_to(9)).for_each(|input| {
        let text = text_or_fragments(input, EMAIL);
        let Ok(email) = Email::parse(&text) else {
            assert!(!is_email(text.trim()), "{text:?} is refused");
            return;
        };
        assert!(is_email(email.as_str()), "{text:?} is accepted");
        assert_eq!(email.as_str(), text.trim());
        assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email));
        let other_case = Email::parse(&email.as_str().to_ascii_uppercase()).unwrap();
        assert_eq!(other_case.unique_key(), email.unique_key());
    });
}

const NAME: &[&str] = &[
    "a",
    "Jane",
    " ",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "\u{200b}",
    "\u{feff}",
    "\0",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{2066}",
    "\u{200f}",
    "👩\u{200d}🔬",
    "é",
    "e\u{301}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn accepted_name_keeps_the_rule() {
    check!().with_generator(up_to(40)).for_each(|input| {
        let text = text_or_fragments(input, NAME);
        let trimmed = text.trim();
        let overrides = [
            '\u{202a}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
            '\u{2028}'..='\u{2029}',
        ];
        let shows_itself =
            |c: char| !c.is_control() && !overrides.iter().any(|range| range.contains(&c));
        let keeps_rule =
            (1..=200).contains(&trimmed.chars().count()) && trimmed.chars().all(shows_itself);

        let name = Name::parse(&text);

        assert_eq!(name.is_ok(), keeps_rule, "{text:?}");
        if let Ok(name) = name {
            assert_eq!(name.as_str(), trimmed);
            assert_eq!(Name::parse(name.as_str()), Ok(name));
        }
    });
}

const ID: &[&str] = &[
    "0",
    "9",
    "a",
    "F",
    "-",
    "{",
    "}",
    "urn:uuid:",
    "0190a3f4",
    "-7c3e",
    "-7CC8",
    "-a1b2",
    "-0242ac120002",
    "00000000",
    "-0000",
    "-000000000000",
    " ",
    "é",
    "g",
];

#[test]
fn accepted_id_is_a_uuid_in_canonical_form() {
    check!().with_generator(up_to(10)).for_each(|input| {
        let text = text_or_fragments(input, ID);
        if let Ok(id) = UserId::parse(&text) {
            assert_eq!(id.uuid().to_string(), text.to_ascii_lowercase());
            assert_ne!(id.uuid(), Uuid::nil());
        }
    });
}
