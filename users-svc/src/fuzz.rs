//! Text that chance makes up, for what reads text: the rules of a user, and `DATABASE_URL`.

use std::time::Duration;

use bolero::{ValueGenerator, check, produce};
use uuid::Uuid;

use crate::store::database::Database;
use crate::user::{Email, Name, UserId};

/// Up to so many bytes; by itself the library would make no more than 64.
fn up_to(length: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=length)
}

/// The text that these bytes stand for, a fragment for each.
fn text(bytes: &[u8], fragments: &[&str]) -> String {
    let fragment = |byte: &u8| fragments[usize::from(*byte) % fragments.len()];
    bytes.iter().map(fragment).collect()
}

/// Text of fragments for one half of the inputs, any text for the other one.
fn text_or_fragments(input: &[u8], fragments: &[&str]) -> String {
    match input.split_first() {
        Some((0..128, bytes)) => text(bytes, fragments),
        Some((_, bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        None => String::new(),
    }
}

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

const SECRET: &str = "hunter2";
/// The password stands where one may, also in a URL that is no URL.
const DATABASE_URL: &[&str] = &[
    "host=h sslmode=verify-full ",
    "sslrootcert= ",
    "postgres://h/d?sslmode=verify-full&sslrootcert=",
    "postgres://u:hunter2@h/d",
    "host=h user=u password=hunter2 ",
    "postgres://",
    "postgresql://",
    "u",
    ":hunter2@",
    ":hunter2@",
    "h",
    "localhost",
    "[::1]",
    ":",
    "5432",
    "/",
    "/d",
    "?",
    "&",
    "#",
    "%",
    "%40",
    "@",
    ",",
    "=",
    "'",
    "\\",
    " ",
    " ",
    "\0",
    "é",
    "host=",
    "hostaddr=",
    "127.0.0.1",
    "port=",
    "user=",
    "dbname=",
    "password=hunter2",
    "password=hunter2 ",
    "password='hunter2' ",
    "&password=hunter2",
    "password= hunter2 ",
    "host=h ",
    "host=/run ",
    "user=u ",
    "sslmode=",
    "disable",
    "require",
    "verify-full",
    "sslrootcert=",
    "sslcert=",
    "system",
    "channel_binding=",
    "options=",
    "'-c x=y'",
    "connect_timeout=",
    "target_session_attrs=",
    "read-write",
    "keepalives=",
    "0",
    "-1",
    "99999999999999999999",
    "application_name=",
    "load_balance_hosts=",
    "random",
];

#[test]
fn no_error_shows_the_password_of_the_database() {
    check!().with_generator(up_to(24)).for_each(|input| {
        let text = text_or_fragments(input, DATABASE_URL);
        if let Err(error) = Database::parse("DATABASE_URL", &text, Duration::from_secs(1)) {
            let shown = format!("{error:#}");
            assert!(!shown.contains(SECRET), "{text:?}: {error:#}");
            assert!(!shown.contains('\0'), "{text:?}: {error:#}");
        }
    });
}
