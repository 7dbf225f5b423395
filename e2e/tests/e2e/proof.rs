//! docs/PROOF.md names tests and commands: they exist.

use std::collections::BTreeSet;
use std::fs;

use e2e::root;

/// Where the code and the tests are.
const FOLDERS: [&str; 11] = [
    "clients",
    "credentials",
    "e2e",
    "gateway",
    "model",
    "postgres-server",
    "schema",
    "service-runtime",
    "stack",
    "tests",
    "users-svc",
];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The names of all functions and modules.
fn names() -> BTreeSet<String> {
    let mut folders = FOLDERS.map(|folder| root().join(folder)).to_vec();
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                names.extend(names_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

/// The words after `fn` and `mod`, and the behaviours that a macro makes tests of: `module::behaviour,`.
fn names_in(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in code.lines() {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            if word == "fn" || word == "mod" {
                let name = words.next().unwrap_or_default();
                names.extend(name.split(['(', ';', '<']).next().map(str::to_owned));
            } else if let Some((_, behaviour)) = word.trim_end_matches(',').rsplit_once("::") {
                names.push(behaviour.to_owned());
            }
        }
    }
    names
}

/// What a document has in code font.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    document.split('`').skip(1).step_by(2)
}

fn is_name_of_a_test(word: &&str) -> bool {
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
    word.matches('_').count() >= 3 && word.chars().all(is_of_a_name)
}

#[test]
fn tests_that_documents_name_exist() {
    let names = names();
    for document in ["docs/PROOF.md", "SECURITY.md"] {
        let text = read(document);
        let tests: Vec<&str> = quoted(&text).filter(is_name_of_a_test).collect();
        assert!(tests.len() > 10, "{document} names tests");
        for path in tests {
            let name = path.rsplit("::").next().unwrap();
            assert!(names.contains(name), "{document} names {path}");
        }
    }
}

/// Each filter of a command is a part of a name.
#[test]
fn commands_that_the_proof_gives_run_something() {
    let (names, text) = (names(), read("docs/PROOF.md"));
    let commands: Vec<&str> = quoted(&text)
        .filter(|it| it.starts_with("cargo test "))
        .collect();
    assert!(commands.len() > 50, "{commands:?}");
    for command in commands {
        let mut words = command.split(' ').skip(2);
        while let Some(word) = words.next() {
            if ["-p", "--test", "--package"].contains(&word) {
                words.next();
            } else if !word.starts_with('-') {
                for part in word.split("::").filter(|part| !part.is_empty()) {
                    let is_there = names.iter().any(|name| name.contains(part));
                    assert!(is_there, "`{command}` runs nothing that is called {part}");
                }
            }
        }
    }
}
