//! What people see at a terminal, who get a table instead of JSON.

use std::process::{Command, Output};

use e2e::binary;

use super::service::{Service, User};

fn users_cli(service: &Service, words: &[&str]) -> Output {
    let mut command = Command::new(binary("users-cli"));
    command.args(["--users-addr", &service.addr]).args(words);
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
    let created = users_cli(&service, &[&["create"], &words[..]].concat());
    let listed = users_cli(&service, &["list", "--all", "--page-size", "1"]);

    let created = String::from_utf8(created.stdout).unwrap();
    let lines = created
        .lines()
        .map(|line| line.split_whitespace().collect());
    let lines: Vec<Vec<&str>> = lines.collect();
    let row = vec![&*user.id, &user.email, "Jane", "Doe"];
    assert_eq!(lines, [vec!["ID", "EMAIL", "NAME"], row]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), created);
}

#[test]
fn empty_page_is_a_table_without_rows() {
    let service = Service::start();

    let listed = users_cli(&service, &["list"]);

    let table = String::from_utf8(listed.stdout).unwrap();
    let words: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(words, ["ID", "EMAIL", "NAME"]);
}

#[test]
fn refusal_is_a_sentence() {
    let service = Service::shared();

    let refused = users_cli(&service, &["get", "x"]);

    assert_eq!(refused.status.code(), Some(3));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(error, "users-cli: there is no user with this id\n");
}
