//! API keys from the command that makes them to the day that they are replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use e2e::{Program, System, binary, eventually, under_load};

/// A key that `gateway keys` made, and its line for the file.
pub struct ApiKey {
    pub key: String,
    pub line: String,
}

pub fn make_key(name: &str, scopes: &str) -> ApiKey {
    let made = Command::new(binary("gateway"))
        .args(["keys", name, scopes])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let shown = String::from_utf8(made.stderr).unwrap();
    ApiKey {
        key: shown.trim().rsplit('\n').next().unwrap().to_owned(),
        line: String::from_utf8(made.stdout).unwrap(),
    }
}

/// A system whose gateway accepts the keys with these lines, in a file `keys` of the directory.
fn start(lines: &str) -> (System, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::write(&keys, lines).unwrap();
    let gateway = [
        ("API_KEYS_FILE", keys.to_str().unwrap()),
        ("RUST_LOG", "trace"),
    ];
    (System::start_with(&[("RUST_LOG", "trace")], &gateway), dir)
}

/// Replaces the file `keys` at once.
fn replace(dir: &Path, lines: &str) {
    fs::write(dir.join("new"), lines).unwrap();
    fs::rename(dir.join("new"), dir.join("keys")).unwrap();
}

#[test]
fn holders_of_keys_create_find_and_list_and_no_one_else_does() {
    let (writer, reader) = (make_key("shop", "create"), make_key("reports", "read"));
    let (mut system, _dir) = start(&(writer.line + &reader.line));
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 401);
    assert_eq!(system.rows(), 0);

    let (shop, reports) = (
        system.http.with_api_key(&writer.key),
        system.http.with_api_key(&reader.key),
    );
    let created: Vec<Value> = (0..5)
        .map(|i| shop.create(&format!("Jane+{i}@example.com"), "Jane").body)
        .collect();
    assert_eq!(shop.get("/users").status, 403);

    let found = reports.get("/users?email=jane%2B3@EXAMPLE.com");
    assert_eq!(
        (found.status, found.body),
        (200, json!({ "users": [created[3]] }))
    );
    let nobody = reports.get("/users?email=nobody@example.com");
    assert_eq!((nobody.status, nobody.body), (200, json!({ "users": [] })));

    let (mut listed, mut query) = (Vec::new(), "pageSize=2".to_owned());
    loop {
        let page = reports.get(&format!("/users?{query}")).body;
        listed.extend(page["users"].as_array().unwrap().clone());
        let Some(token) = page["nextPageToken"].as_str() else {
            break;
        };
        query = format!("pageSize=2&pageToken={token}");
    }
    assert_eq!(listed, created);

    // Who did it stands in the log, and nothing that was asked for.
    let line = system.gateway.wait_for("principal=\"shop\"");
    assert!(line.contains("status=201"), "{line}");
    for secret in [&writer.key[4..], &reader.key[4..], "jane+", "jane%2b"] {
        let output = system.gateway.output() + &system.users.output();
        assert!(
            !output.to_lowercase().contains(secret),
            "{secret} in:\n{output}"
        );
    }
}

#[test]
fn keys_that_are_refused_are_not_logged() {
    let (known, unknown) = (make_key("shop", "create"), make_key("shop", "create"));
    let (mut system, _dir) = start(&known.line);
    let stranger = system.http.with_api_key(&unknown.key);
    assert_eq!(stranger.create("jane@example.com", "Jane").status, 401);
    assert_eq!(
        stranger.get(&format!("/users?key={}", unknown.key)).status,
        401
    );
    assert_eq!(stranger.get("/livez").status, 200);
    system.gateway.wait_for("status=401");
    let output = system.gateway.output();
    assert!(!output.contains(&unknown.key[4..]), "{output}");
}

#[test]
fn replay_is_one_for_the_principal_and_not_for_another() {
    let (old, new) = (make_key("shop", "create"), make_key("shop", "create"));
    let other = make_key("billing", "create");
    let (system, _dir) = start(&(old.line + &new.line + &other.line));
    let create = |key: &str, email| {
        let http = system.http.with_api_key(key);
        http.create_with_key(email, "Jane", "order-17")
    };
    let first = create(&old.key, "jane@example.com");
    let again = create(&new.key, "jane@example.com");
    assert_eq!(
        (first.status, again.status, again.is_replay),
        (201, 201, true)
    );
    assert_eq!(again.body["id"], first.body["id"]);

    // The same key of another principal is another key: it is neither taken nor known.
    let others = create(&other.key, "john@example.com");
    assert_eq!((others.status, others.is_replay), (201, false));
    assert_eq!(create(&other.key, "jane@example.com").status, 422);
    assert_eq!(system.rows(), 2);
}

#[test]
fn key_is_replaced_under_load_without_a_failed_request() {
    let (old, new) = (make_key("shop", "create"), make_key("shop", "create"));
    let (system, dir) = start(&old.line);
    let (before, after) = (
        system.http.with_api_key(&old.key),
        system.http.with_api_key(&new.key),
    );
    let probe = |http: &e2e::Http| http.post(&json!({})).status;

    let with_old = under_load(std::slice::from_ref(&before), 8, "old", || {
        replace(dir.path(), &(old.line.clone() + &new.line));
        eventually("the new key is accepted", || probe(&after) == 400);
    });
    let with_new = under_load(std::slice::from_ref(&after), 8, "new", || {
        replace(dir.path(), &new.line);
        eventually("the old key is refused", || probe(&before) == 401);
    });

    let outcomes: Vec<_> = with_old.into_iter().chain(with_new).collect();
    let failed: Vec<_> = outcomes.iter().filter(|o| o.status != 201).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(system.rows(), i64::try_from(outcomes.len()).unwrap());
}

#[test]
fn broken_list_of_keys_keeps_the_one_before_it() {
    let known = make_key("shop", "create");
    let (mut system, dir) = start(&known.line);
    let shop = system.http.with_api_key(&known.key);
    replace(
        dir.path(),
        &format!("{}hunter2 create hunter2\n", known.line),
    );
    let said = system.gateway.wait_for("kept what was read before");
    assert!(
        said.contains("API_KEYS_FILE=") && said.contains("line 2"),
        "{said}"
    );
    assert!(!system.gateway.output().contains("hunter2"));
    assert_eq!(shop.create("jane@example.com", "Jane").status, 201);

    fs::remove_file(dir.path().join("keys")).unwrap();
    system.gateway.wait_for("No such file");
    assert_eq!(shop.create("john@example.com", "John").status, 201);
}

#[test]
fn list_of_keys_that_is_wrong_at_start_is_refused_by_its_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::write(&keys, "# Ours\nshop create hunter2\n").unwrap();
    let missing = dir.path().join("missing");
    for (file, what) in [(&keys, "line 2: the SHA-256"), (&missing, "No such file")] {
        let file = file.to_str().unwrap();
        for service in ["gateway", "stack"] {
            let settings = [("API_KEYS_FILE", file), ("HTTP_ADDR", "127.0.0.1:0")];
            let mut program = Program::start(&binary(service), Path::new("/"), &settings);
            assert!(!program.ended().success(), "{service}");
            let said = program.wait_for(&format!("API_KEYS_FILE={file}: {what}"));
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
