//! What clients get that send more requests than they may.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::raw::{POST, connect, status};
use crate::support::{Answer, FakeUsers, Gateway, JANE, JSON, Response};

/// A gateway with this `RATE_LIMIT` and more options, of which readiness took nothing.
fn limited_to(limit: &str, options: &[&str]) -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(&[Answer::Stored]);
    let options = [&["--rate-limit", limit], options].concat();
    let gateway = Gateway::start(&users, &options);
    (users, gateway)
}

fn assert_refused(response: &Response) {
    assert_eq!(response.status, 429, "{response:?}");
    let quota_exceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    let problem = response.json();
    assert_eq!(problem["type"], quota_exceeded);
    assert_eq!(problem["violated-policies"], serde_json::json!(["default"]));
}

#[test]
fn request_beyond_the_quota_is_429_and_succeeds_when_retry_after_says() {
    let (users, gateway) = limited_to("2/2", &[]);
    for left in ["1", "0"] {
        let created = gateway.post(&[JSON], JANE);
        assert_eq!(created.status, 201);
        assert_eq!(
            created.header("ratelimit-policy"),
            Some("\"default\";q=2;w=2")
        );
        let state = format!("\"default\";r={left};t=1");
        assert_eq!(created.header("ratelimit"), Some(&*state));
    }

    let refused = gateway.post(&[JSON], JANE);
    assert_refused(&refused);
    let retry_after = refused.header("retry-after").unwrap();
    let state = format!("\"default\";r=0;t={retry_after}");
    assert_eq!(refused.header("ratelimit"), Some(&*state));
    assert_eq!(users.received.lock().unwrap().len(), 2);

    // The wait that is promised to be enough.
    std::thread::sleep(Duration::from_secs(retry_after.parse().unwrap()));
    assert_eq!(gateway.post(&[JSON], JANE).status, 201);
}

#[test]
fn every_route_is_limited_but_the_probes() {
    let (_users, gateway) = limited_to("1/86400", &[]);
    assert_eq!(gateway.get("/openapi.json").status, 200);
    for path in ["/openapi.json", "/docs/", "/users/7", "/nowhere"] {
        assert_refused(&gateway.get(path));
    }
    assert_refused(&gateway.request("OPTIONS", "/users", &[], b""));
    for path in ["/livez", "/readyz"] {
        let probe = gateway.get(path);
        assert_eq!(probe.status, 200);
        assert_eq!(probe.header("ratelimit"), None);
    }
}

#[test]
fn body_of_a_refused_request_is_not_waited_for() {
    let (_users, gateway) = limited_to("1/86400", &[]);
    gateway.get("/nowhere");
    let mut stream = connect(&gateway);
    let start = Instant::now();
    let head = format!("{POST}Content-Length: 100\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 2000];
    let length = stream.read(&mut answer).unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer[..length])), "429");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn request_with_a_bad_host_ends_its_connection_with_a_quota_or_without() {
    let (_users, gateway) = limited_to("1/86400", &[]);
    for _ in 0..2 {
        let response = gateway.request("GET", "/docs", &[("Host", "again")], b"");
        assert_eq!(response.status, 400);
        assert_eq!(response.header("connection"), Some("close"));
    }
}

#[test]
fn principal_has_a_quota_of_its_own_and_bad_keys_use_up_that_of_their_address() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let line = |name: &str, key: &str| {
        let digest = Sha256::digest(key)
            .into_iter()
            .map(|byte| format!("{byte:02x}"));
        format!("{name} create {}\n", digest.collect::<String>())
    };
    let lines = [line("a", "old"), line("a", "new"), line("b", "other")];
    fs::write(&file, lines.concat()).unwrap();
    let options = ["--api-keys-file", file.to_str().unwrap()];
    let (_users, gateway) = limited_to("1/86400", &options);
    let create = |key: &str| {
        let bearer = format!("Bearer {key}");
        gateway.post(&[JSON, ("Authorization", &bearer)], JANE)
    };

    // The first request without a key is refused for that, and those after it for their number.
    assert_eq!(create("guess").status, 401);
    assert_refused(&create("guess"));
    assert_refused(&gateway.post(&[JSON], JANE));

    // Both of its keys are one principal's.
    assert_eq!(create("old").status, 201);
    assert_refused(&create("new"));
    assert_eq!(create("other").status, 201);
}

#[test]
fn clients_behind_a_trusted_proxy_have_quotas_of_their_own() {
    let proxy = ["--trusted-proxies", "127.0.0.0/8"];
    let (_users, gateway) = limited_to("1/86400", &proxy);
    let get = |name, value| gateway.request("GET", "/docs", &[(name, value)], b"");
    assert_eq!(get("X-Forwarded-For", "9.9.9.1").status, 308);
    assert_eq!(get("X-Forwarded-For", "9.9.9.2").status, 308);
    assert_refused(&get("X-Forwarded-For", "9.9.9.2"));
    assert_refused(&get("X-Forwarded-For", "6.6.6.6, 9.9.9.2"));
    assert_refused(&get("Forwarded", "for=\"9.9.9.2:80\""));

    // Those who forge the header that the proxy does not write share its own quota.
    let forged = |number| {
        let forwarded = format!("for=6.6.6.{number}");
        let headers = [("Forwarded", &*forwarded), ("X-Forwarded-For", "9.9.9.3")];
        gateway.request("GET", "/docs", &headers, b"")
    };
    assert_eq!(forged(1).status, 308);
    assert_refused(&forged(2));
    assert_eq!(get("X-Forwarded-For", "9.9.9.3").status, 308);
}

#[test]
fn client_that_comes_by_no_trusted_proxy_cannot_name_another_address() {
    let (_users, gateway) = limited_to("1/86400", &["--trusted-proxies", "192.0.2.1"]);
    let get = |client| gateway.request("GET", "/docs", &[("X-Forwarded-For", client)], b"");
    assert_eq!(get("9.9.9.1").status, 308);
    assert_refused(&get("9.9.9.2"));
}
