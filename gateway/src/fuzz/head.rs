//! Targets and headers.

use std::net::Ipv6Addr;

use bolero::check;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::{bytes_or_fragments, up_to};
use crate::body::check_media_type;
use crate::client_address::TrustedProxies;
use crate::host::check_host;
use crate::idempotency::user_id;
use crate::users_query;

/// The headers that have this value; `None`: no header can have it.
fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
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
        let Some(headers) = headers(HeaderName::from_static("idempotency-key"), &key) else {
            return;
        };
        let is_key = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        let id = user_id(&headers, None);
        assert_eq!(id.is_ok(), is_key, "{:?}", String::from_utf8_lossy(&key));
        assert_eq!(id.ok(), is_key.then(|| user_id(&headers, None).unwrap()));
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
        if check_media_type(&headers).is_ok() {
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
        if check_host(Version::HTTP_11, &headers).is_err() {
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

const FORWARDED: &[&str] = &[
    "for=",
    "For=6.6.6.6",
    "6.6.6.6",
    "10.0.0.1",
    "[::1]",
    "2001:db8::9",
    "\"",
    "\"",
    "\\",
    ",",
    ", ",
    ";",
    "=",
    ":80",
    "unknown",
    "_x",
    "\\",
    "proto=https",
    "host=",
    " ",
    "\t",
    "é",
];

#[test]
fn nothing_before_what_a_proxy_adds_changes_the_client() {
    let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
    let [proxy, stranger] = ["10.0.0.1", "192.0.2.1"].map(|address| address.parse().unwrap());
    check!().with_generator(up_to(12)).for_each(|input| {
        let claimed = bytes_or_fragments(input, FORWARDED);
        for (name, added) in [
            ("forwarded", ", for=9.9.9.9;proto=https"),
            (
                "forwarded",
                ", for=\"9.9.9.9:80\";host=\"a, for=6.6.6.6\", for=10.0.0.2",
            ),
            ("x-forwarded-for", ", 9.9.9.9"),
            ("x-forwarded-for", ",9.9.9.9 , 10.0.0.2"),
        ] {
            let value = [&claimed, added.as_bytes()].concat();
            let Some(headers) = headers(HeaderName::from_static(name), &value) else {
                return;
            };
            let client = trusted.client(proxy, &headers).to_string();
            assert_eq!(
                client,
                "9.9.9.9",
                "{name}: {:?}",
                String::from_utf8_lossy(&value)
            );
            assert_eq!(trusted.client(stranger, &headers), stranger);
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
