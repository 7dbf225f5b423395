//! Who may do what, by their API keys.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::support::{Answer, Gateway, JANE, JANES_ID, JSON, answering, keyed};

/// SHA-256 digests of the keys `abc`, `hello` and `xyz` (by sha256sum).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const REALM: &str = r#"Bearer realm="users""#;
const UNKNOWN: &str = r#"Bearer realm="users", error="invalid_token""#;

/// A file with a list of keys.
fn list(lines: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), lines).unwrap();
    file
}

/// Replaces a list of keys as a careful operator does.
fn replace(file: &Path, lines: &str) {
    let new = file.with_extension("new");
    fs::write(&new, lines).unwrap();
    fs::rename(&new, file).unwrap();
}

fn bearer(key: &str) -> (&str, String) {
    ("Authorization", format!("Bearer {key}"))
}

fn create(gateway: &Gateway, key: &str) -> u16 {
    let (name, value) = bearer(key);
    gateway.post(&[JSON, (name, &value)], JANE).status
}

fn get(gateway: &Gateway, path: &str, key: &str) -> u16 {
    let (name, value) = bearer(key);
    gateway.request("GET", path, &[(name, &value)], b"").status
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn request_without_a_valid_key_is_401_and_calls_nobody() {
    let keys = list(&format!("shop create,read {ABC}"));
    let (users, gateway) = keyed(&[Answer::Stored], keys.path());
    let authorization = |value| ("Authorization", value);
    for (headers, challenge) in [
        (&[][..], REALM),
        (&[authorization("Basic YWJjOmFiYw==")], REALM),
        (&[authorization("Bearer ")], REALM),
        (&[authorization("abc")], REALM),
        (
            &[authorization("Bearer abc"), authorization("Bearer abc")],
            REALM,
        ),
        (&[authorization("Bearer hello")], UNKNOWN),
        (&[authorization("Bearer ABC")], UNKNOWN),
        // A digest is no key.
        (&[authorization(&format!("Bearer {ABC}"))], UNKNOWN),
    ] {
        let get = |path| gateway.request("GET", path, headers, b"");
        let post = gateway.post(&[&[JSON], headers].concat(), JANE);
        for response in [post, get("/users/7"), get("/users"), get("/users?key=abc")] {
            let said = (response.status, response.header("www-authenticate"));
            assert_eq!(said, (401, Some(challenge)), "{headers:?}");
            let problem = if challenge == REALM {
                "blank"
            } else {
                "unknown-api-key"
            };
            assert_eq!(response.problem(), problem);
        }
    }
    assert_eq!(users.calls(), 0);
}

#[test]
fn key_does_what_its_scopes_say_and_nothing_else() {
    let keys = list(&format!("shop create {ABC}\nreports read {HELLO}"));
    let (users, gateway) = keyed(&[Answer::Stored], keys.path());
    assert_eq!(create(&gateway, "abc"), 201);
    let read = format!("/users/{JANES_ID}");
    for path in [&*read, "/users", "/users?email=jane@example.com"] {
        assert_eq!(get(&gateway, path, "hello"), 200, "{path}");
        assert_eq!(get(&gateway, path, "abc"), 403, "{path}");
    }
    assert_eq!(create(&gateway, "hello"), 403);
    assert_eq!(users.calls(), 4);

    let (name, value) = bearer("hello");
    let refused = gateway.post(&[JSON, (name, &value)], JANE);
    assert_eq!(refused.problem(), "insufficient-scope");
    let challenge = r#"Bearer realm="users", error="insufficient_scope", scope="create""#;
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
}

#[test]
fn what_is_open_needs_no_key_and_minds_no_wrong_one() {
    let keys = list(&format!("shop create {ABC}"));
    let (_users, gateway) = keyed(&[Answer::Stored], keys.path());
    for path in ["/livez", "/readyz", "/openapi.json", "/docs/"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
        assert_eq!(get(&gateway, path, "wrong"), 200, "{path}");
    }
    assert_eq!(gateway.get("/nowhere").status, 404);
    let options = gateway.request("OPTIONS", "/users", &[], b"");
    let allowed = Some("POST, GET, HEAD, OPTIONS");
    assert_eq!((options.status, options.header("allow")), (204, allowed));
}

#[test]
fn without_a_list_of_keys_everyone_is_anonymous() {
    let (_users, gateway) = answering(&[Answer::Stored]);
    assert_eq!(create(&gateway, "abc"), 201);
    assert_eq!(get(&gateway, "/users/7", "abc"), 200);
    for path in ["/users", "/users?email=jane@example.com"] {
        let response = gateway.get(path);
        let said = (response.status, response.header("allow"));
        assert_eq!(said, (405, Some("POST, OPTIONS")), "{path}");
    }
}

#[test]
fn document_describes_keys_and_lists_only_where_there_are_some() {
    let keys = list(&format!("shop create {ABC}"));
    let (_users, gateway) = keyed(&[Answer::Stored], keys.path());
    let with = gateway.get("/openapi.json").json();
    let (_users, gateway) = answering(&[Answer::Stored]);
    let without = gateway.get("/openapi.json").json();

    let scheme = |document: &serde_json::Value| {
        document["components"]["securitySchemes"]["apiKey"]["scheme"].clone()
    };
    assert_eq!(
        (scheme(&with), scheme(&without)),
        ("bearer".into(), ().into())
    );
    let list = |document: &serde_json::Value| document["paths"]["/users"]["get"].clone();
    assert_eq!(list(&with)["security"][0]["apiKey"][0], "read");
    assert!(list(&with)["responses"]["401"].is_object());
    assert!(list(&with)["responses"]["403"].is_object());
    assert!(list(&without).is_null());
    assert!(without["paths"]["/users"]["post"]["responses"]["401"].is_null());
}

#[test]
fn list_is_read_again_when_it_changes_and_both_keys_of_a_name_are_accepted() {
    let keys = list(&format!("shop create {ABC}"));
    let (_users, gateway) = keyed(&[Answer::Stored], keys.path());
    assert_eq!(
        (create(&gateway, "abc"), create(&gateway, "hello")),
        (201, 401)
    );

    let both = format!("shop create {ABC}\nshop create {HELLO}");
    replace(keys.path(), &both);
    eventually("the new key is accepted", || {
        create(&gateway, "hello") == 201
    });
    assert_eq!(create(&gateway, "abc"), 201);

    replace(keys.path(), &format!("shop create {HELLO}"));
    eventually("the old key is refused", || create(&gateway, "abc") == 401);
    assert_eq!(create(&gateway, "hello"), 201);
}

#[test]
fn idempotency_key_means_another_id_for_each_principal() {
    let xyz = "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282";
    let keys = list(&format!(
        "shop create {ABC}\nshop create {HELLO}\nbilling create {xyz}"
    ));
    let (users, gateway) = keyed(&[Answer::Stored], keys.path());
    for key in ["abc", "hello", "xyz"] {
        let (name, value) = bearer(key);
        let headers = [JSON, (name, &value), ("Idempotency-Key", "order-17")];
        assert_eq!(gateway.post(&headers, JANE).status, 201);
    }
    let received = users.received.lock().unwrap();
    let [first, rotated, other] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(first.id, rotated.id);
    assert_ne!(first.id, other.id);
}
