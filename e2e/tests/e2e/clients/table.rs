//! What people see at a terminal, who get a table instead of JSON.

use std::process::{Command, Output};

use e2e::binary;
use users_conformance::Step;
use uuid::Uuid;

use super::conformance as scripted;
use super::service::{Service, User};

fn users_cli(addr: &str, words: &[&str]) -> Output {
    let mut command = Command::new(binary("users-cli"));
    command.args(["--users-addr", addr]).args(words);
    command.output().unwrap()
}

#[test]
fn created_and_listed_users_are_a_table() {
    let (service, user) = (Service::start(), User::new());

    let words = [
        "--id",
        &user.id,
        "--email",
        &user.email,
        "--name",
        "Jane Doe",
    ];
    let created = users_cli(&service.addr, &[&["create"], &words[..]].concat());
    let listed = users_cli(&service.addr, &["list", "--all", "--page-size", "1"]);

    let created = String::from_utf8(created.stdout).unwrap();
    let lines = created
        .lines()
        .map(|line| line.split_whitespace().collect());
    let lines: Vec<Vec<&str>> = lines.collect();
    let row = vec![&*user.id, &user.email, "Jane", "Doe", "created"];
    assert_eq!(lines, [vec!["ID", "EMAIL", "NAME", "OUTCOME"], row]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let row = format!("{}  {}  Jane Doe", user.id, user.email);
    assert_eq!(listed.lines().nth(1), Some(&*row));
}

#[test]
fn empty_page_is_a_table_without_rows() {
    let service = Service::start();

    let listed = users_cli(&service.addr, &["list"]);

    let table = String::from_utf8(listed.stdout).unwrap();
    let words: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(words, ["ID", "EMAIL", "NAME"]);
}

#[test]
fn refusal_is_a_sentence() {
    let service = Service::shared();

    let refused = users_cli(&service.addr, &["get", "x"]);

    assert_eq!(refused.status.code(), Some(3));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(error, "users-cli: there is no such user\n");
}

#[test]
fn unknown_create_says_with_which_id_to_settle_it() {
    let addr = scripted::start(&[Step::Fails]);

    let unknown = users_cli(&addr, &["create", "--email", "a@b.io", "--name", "A"]);

    assert_eq!(unknown.status.code(), Some(5));
    let error = String::from_utf8(unknown.stderr).unwrap();
    let (_, id) = error.trim_end().split_once(" again with --id ").unwrap();
    assert!(Uuid::try_parse(id).is_ok(), "{error}");
}
