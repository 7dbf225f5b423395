//! Requests that chance makes up, for what decodes them.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use bolero::{ValueGenerator, check, produce};
use credentials::{Content, CredentialFile};
use serde::Deserialize;
use warp::http::{HeaderMap, HeaderValue, Version, header};

use crate::auth::key_list::{KeyDigest, KeyList};
use crate::{body as decoder, host, idempotency, users_query};

/// Up to so many bytes; by itself the library would make no more than 64.
fn up_to(length: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=length)
}

/// The text that these bytes stand for, a fragment for each.
fn text(bytes: &[u8], fragments: &[&str]) -> String {
    let fragment = |byte: &u8| fragments[usize::from(*byte) % fragments.len()];
    bytes.iter().map(fragment).collect()
}

/// Text of fragments for one half of the inputs, any bytes for the other one.
fn bytes_or_fragments(input: &[u8], fragments: &[&str]) -> Vec<u8> {
    match input.split_first() {
        Some((0..128, bytes)) => text(bytes, fragments).into_bytes(),
        Some((_, bytes)) => bytes.to_owned(),
        None => Vec::new(),
    }
}

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

        match (decoder::decode(&bytes), derived) {
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

/// The headers that have this value; `None`: no header can have it.
fn headers(name: header::HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

const KEY: &[&str] = &[
    "k",
    "order-17",
    "\"",
    " ",
    "\t",
    "~",
    "\u{7f}",
    "é",
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
];

#[test]
fn idempotency_key_is_accepted_exactly_if_it_is_short_visible_ascii() {
    check!().with_generator(up_to(16)).for_each(|input| {
        let key = bytes_or_fragments(input, KEY);
        let Some(headers) = headers(header::HeaderName::from_static("idempotency-key"), &key)
        else {
            return;
        };
        let is_key = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        let id = idempotency::user_id(&headers, None);
        assert_eq!(id.is_ok(), is_key, "{:?}", String::from_utf8_lossy(&key));
        assert_eq!(
            id.ok(),
            is_key.then(|| idempotency::user_id(&headers, None).unwrap())
        );
    });
}

const MEDIA_TYPE: &[&str] = &[
    "application/json",
    "Application/JSON",
    "text/plain",
    ";",
    " ",
    "charset=utf-8",
    ",",
    "/",
    "\t",
    "é",
];

#[test]
fn media_type_that_is_accepted_is_json() {
    check!().with_generator(up_to(8)).for_each(|input| {
        let value = bytes_or_fragments(input, MEDIA_TYPE);
        let Some(headers) = headers(header::CONTENT_TYPE, &value) else {
            return;
        };
        if decoder::check_media_type(&headers).is_ok() {
            let value = String::from_utf8_lossy(&value).to_ascii_lowercase();
            assert!(
                value.trim_start().starts_with("application/json"),
                "{value:?}"
            );
        }
    });
}

const HOST: &[&str] = &[
    "h",
    "example.com",
    "127.0.0.1",
    "[::1]",
    "[",
    "]",
    "::1",
    "%25",
    "%zz",
    ":80",
    ":",
    "@",
    "u:p@",
    ",",
    "_",
    "*",
    "/",
    "?",
    "#",
    "\\",
    " ",
    "\t",
    "\"",
    "é",
    "~",
];

#[test]
fn host_that_is_accepted_is_a_name_or_an_address_and_perhaps_a_port() {
    check!().with_generator(up_to(6)).for_each(|input| {
        let value = bytes_or_fragments(input, HOST);
        let Some(headers) = headers(header::HOST, &value) else {
            return;
        };
        if host::check_host(Version::HTTP_11, &headers).is_err() {
            return;
        }
        let value = String::from_utf8(value).unwrap();
        let is_safe = |c: char| c.is_ascii_graphic() && !r#"@/?#\"<>^`{|}"#.contains(c);
        assert!(value.chars().all(is_safe), "{value:?}");
        let (host, port) = match value
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((address, port)) => {
                assert!(address.parse::<Ipv6Addr>().is_ok(), "{value:?}");
                ("", port)
            }
            None => value.split_at(value.find(':').unwrap_or(value.len())),
        };
        assert!(!host.contains(['[', ']', ':']), "{value:?}");
        let port = port.strip_prefix(':').unwrap_or(port);
        assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{value:?}");
    });
}

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

const QUERY: &[&str] = &[
    "email",
    "pageSize",
    "pageToken",
    "page%53ize",
    "=",
    "=",
    "&",
    "5",
    "-1",
    "%40",
    "%ff",
    "%",
    "+",
    "a",
    "#",
    "é",
];

#[test]
fn query_is_read_or_every_fault_of_it_has_a_parameter() {
    check!().with_generator(up_to(12)).for_each(|input| {
        let query = String::from_utf8_lossy(&bytes_or_fragments(input, QUERY)).into_owned();
        if let Err(faults) = users_query::parse(&query) {
            assert!((1..=16).contains(&faults.len()), "{query:?}");
            assert!(
                faults.iter().all(|fault| fault.parameter.is_some()),
                "{query:?}"
            );
        }
    });
}
