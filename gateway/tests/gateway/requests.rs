//! Which requests are taken, and what the others get.

use crate::support::{Answer, JANE, JSON, answering};

#[test]
fn bad_key_is_400_and_calls_nobody() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let long = "k".repeat(256);
    for keys in [&["a b"][..], &[""], &[&long], &["a", "b"]] {
        let mut headers = vec![JSON];
        headers.extend(keys.iter().map(|key| ("Idempotency-Key", *key)));
        let response = gateway.post(&headers, JANE);
        assert_eq!(
            (response.status, &*response.problem()),
            (400, "bad-idempotency-key")
        );
    }
    assert_eq!(users.calls(), 0);
}

#[test]
fn body_that_is_no_object_is_400_and_calls_nobody() {
    let (users, gateway) = answering(&[Answer::Stored]);
    for body in [&b""[..], b"{", b"[]", b"\xff"] {
        let response = gateway.post(&[JSON], body);
        let said = (response.status, &*response.problem());
        assert_eq!(said, (400, "malformed"), "{body:?}");
    }
    assert_eq!(users.calls(), 0);
}

#[test]
fn malformed_body_is_told_where() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    let body = b"{\n  \"email\": \"secret@example.com\"\n  \"name\": \"Jane Doe\"\n}";
    let response = gateway.post(&[JSON], body);
    assert_eq!(&*response.problem(), "malformed");
    let detail = response.json()["detail"].clone();
    let expected =
        "The body must be JSON (RFC 8259) in UTF-8: expected `,` or `}` at line 3, column 3.";
    assert_eq!(detail, expected);
}

#[test]
fn object_that_is_no_user_is_400() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for body in [
        &b"{}"[..],
        br#"{"email":"a@b.io","name":"A","admin":true}"#,
        br#"{"email":"a@b.io","name":"A","name":"B"}"#,
        br#"{"email":["a@b.io"],"name":"A"}"#,
    ] {
        let response = gateway.post(&[JSON], body);
        let said = (response.status, &*response.problem());
        assert_eq!(said, (400, "invalid"), "{body:?}");
    }
}

#[test]
fn only_plain_json_is_taken() {
    let (users, gateway) = answering(&[Answer::Stored]);
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(
            gateway.post(&[("Content-Type", good)], JANE).status,
            201,
            "{good}"
        );
    }
    let gzip = ("Content-Encoding", "gzip");
    for bad in [
        &[][..],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/jsonx")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[JSON, gzip],
        &[JSON, JSON],
    ] {
        let response = gateway.post(bad, JANE);
        assert_eq!(
            (response.status, &*response.problem()),
            (415, "blank"),
            "{bad:?}"
        );
    }
    assert_eq!(users.calls(), 2);
}

#[test]
fn body_over_64_kib_is_413() {
    let (users, gateway) = answering(&[Answer::Stored]);
    let body = |size: usize| {
        let padding = size - JANE.len();
        [JANE, &vec![b' '; padding]].concat()
    };
    assert_eq!(gateway.post(&[JSON], &body(64 * 1024)).status, 201);
    let response = gateway.post(&[JSON], &body(64 * 1024 + 1));
    assert_eq!((response.status, &*response.problem()), (413, "blank"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(users.calls(), 1);
}

#[test]
fn unknown_path_is_404() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for path in ["//", "/user", "/users/1/2", "/livez/x", "/%2e%2e/users"] {
        let response = gateway.get(path);
        let said = (response.status, &*response.problem());
        assert_eq!(said, (404, "blank"), "{path}");
    }
}

#[test]
fn root_leads_to_the_page_that_describes_the_interface() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for path in ["/", "/docs"] {
        let response = gateway.get(path);
        let said = (response.status, response.header("location"));
        assert_eq!(said, (308, Some("/docs/")), "{path}");
    }
}

/// Some routes, and what they allow.
const ALLOWED: [(&str, &str); 4] = [
    ("/users", "POST, OPTIONS"),
    ("/users/7", "GET, HEAD, OPTIONS"),
    ("/livez", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
];

#[test]
fn method_without_a_handler_is_405_with_what_is_allowed() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for (path, allow) in ALLOWED {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let response = gateway.request(method, path, &[], b"");
            let said = (response.status, response.header("allow"));
            assert_eq!(said, (405, Some(allow)), "{method} {path}");
            response.problem();
        }
    }
    assert_eq!(gateway.get("/users").status, 405);
    let post = gateway.request("POST", "/users/7", &[JSON], JANE);
    assert_eq!(post.status, 405);
}

#[test]
fn options_answers_204_with_what_is_allowed() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    for (path, allow) in ALLOWED {
        let options = gateway.request("OPTIONS", path, &[], b"");
        let said = (options.status, options.header("allow"));
        assert_eq!(said, (204, Some(allow)), "{path}");
    }
}

#[test]
fn request_id_is_echoed_or_minted() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    let echoed = |id: &str| {
        let response = gateway.request("GET", "/livez", &[("X-Request-Id", id)], b"");
        response.header("x-request-id").unwrap().to_owned()
    };
    let longest = "r".repeat(128);
    for good in ["abc-123", &longest] {
        assert_eq!(echoed(good), good);
    }
    for bad in ["", "a b", &"r".repeat(129), "é"] {
        assert_eq!(echoed(bad).len(), 36, "{bad}");
    }
    assert_ne!(echoed(""), echoed(""));
}
