//! What browsers are told about responses, and by which origins' pages they may be used.

use crate::support::{Answer, FakeUsers, Gateway, JANE, JSON, Response};

const APP: &str = "https://app.example.com";

fn start(options: &[&str]) -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(&[Answer::Stored]);
    let gateway = Gateway::start(&users, options);
    (users, gateway)
}

/// The preflight request of a page that wants to send this.
fn preflight(gateway: &Gateway, origin: &str, method: &str, headers: &str) -> Response {
    let request = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", headers),
    ];
    gateway.request("OPTIONS", "/users", &request, b"")
}

/// Makes sure that a response is for no other origin's page.
fn assert_not_shared(response: &Response) {
    assert_eq!(response.header("access-control-allow-origin"), None);
    assert_eq!(response.header("access-control-allow-methods"), None);
}

/// Whether a list, in a header, has all of these.
fn has_all(list: Option<&str>, names: &str) -> bool {
    let list = list.unwrap_or_default().to_lowercase();
    let has = |name: &str| list.split(',').any(|item| item.trim() == name);
    names.to_lowercase().split(' ').all(has)
}

#[test]
fn every_response_says_what_it_is_not_for() {
    let (_users, gateway) = start(&[]);
    let responses = [
        gateway.post(&[JSON], JANE),
        gateway.post(&[JSON], b"{"),
        gateway.get("/users/7"),
        gateway.get("/livez"),
        gateway.get("/docs"),
        gateway.get("/docs/"),
        gateway.get("/docs/swagger-ui.css"),
        gateway.get("/openapi.json"),
        gateway.get("/nowhere"),
        gateway.request("DELETE", "/users", &[], b""),
        gateway.request("OPTIONS", "/users", &[], b""),
        gateway.request("GET", "/livez", &[("Host", "again")], b""),
    ];
    for response in responses {
        let header = |name| response.header(name).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{response:?}");
        let policy = header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{response:?}");
        assert_eq!(response.header("strict-transport-security"), None);
        assert_eq!(response.header("vary"), None);
    }
}

#[test]
fn user_is_kept_by_no_cache() {
    let (_users, gateway) = start(&[]);
    for response in [gateway.post(&[JSON], JANE), gateway.get("/users/7")] {
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn without_origins_no_other_page_may_use_anything() {
    let (_users, gateway) = start(&[]);
    assert_not_shared(&preflight(&gateway, APP, "POST", "content-type"));
    assert_not_shared(&gateway.post(&[JSON, ("Origin", APP)], JANE));
}

#[test]
fn page_of_a_named_origin_may_send_what_clients_send_and_read_what_they_read() {
    let origins = format!("https://other.example.com,{APP}");
    let (_users, gateway) = start(&["--cors-origins", &origins]);
    let needed = "authorization, content-type, Idempotency-Key, X-Request-Id, traceparent";
    let allowed = preflight(&gateway, APP, "POST", needed);
    assert_eq!(allowed.status, 204, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some(APP));
    let methods = allowed.header("access-control-allow-methods");
    assert!(has_all(methods, "GET HEAD POST"), "{allowed:?}");
    let headers = allowed.header("access-control-allow-headers");
    assert!(has_all(headers, &needed.replace(',', "")), "{allowed:?}");
    // It passed the pipeline as any other request.
    assert!(allowed.header("x-request-id").is_some());
    assert_eq!(allowed.header("allow"), Some("POST, OPTIONS"));

    let created = gateway.post(&[JSON, ("Origin", APP)], JANE);
    assert_eq!(created.status, 201);
    assert_eq!(created.header("access-control-allow-origin"), Some(APP));
    assert_eq!(created.header("vary"), Some("origin"));
    let exposed = created.header("access-control-expose-headers");
    let read = "Location Idempotency-Replayed X-Request-Id RateLimit RateLimit-Policy Retry-After WWW-Authenticate";
    assert!(has_all(exposed, read), "{created:?}");
    // A page must be able to read an error too.
    let problem = gateway.post(&[JSON, ("Origin", APP)], b"{");
    assert_eq!(problem.status, 400);
    assert_eq!(problem.header("access-control-allow-origin"), Some(APP));
}

#[test]
fn what_is_not_allowed_to_a_page_is_left_to_its_browser() {
    let (_users, gateway) = start(&["--cors-origins", APP]);
    assert_not_shared(&preflight(&gateway, APP, "DELETE", "content-type"));
    assert_not_shared(&preflight(&gateway, APP, "POST", "x-else"));
    for origin in [
        "https://evil.example.com",
        "null",
        "https://app.example.com.evil.org",
    ] {
        assert_not_shared(&preflight(&gateway, origin, "POST", "content-type"));
        // The gateway's own pages send an origin too, and it may have many names.
        let created = gateway.post(&[JSON, ("Origin", origin)], JANE);
        assert_eq!(created.status, 201);
        assert_not_shared(&created);
        assert_eq!(created.header("vary"), Some("origin"));
    }
}
