//! `users-conformance` as strangers run it: it finds no fault in our clients, nor in the driver of its page,
//! and every fault in a client that is nearly right.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use e2e::{binary, root};

use super::client::Client;
use super::toolchains::python;

tests_of_foreign_clients! {
    conformance_program::program_finds_no_fault,
}

pub fn program_finds_no_fault(client: &Client) {
    let options = ["--create-many", "--tls"];
    let (status, printed) = run(&options, client.driver());

    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.ends_with("ok: 86, WRONG: 0\n"), "{printed}");
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn driver_of_the_page_is_right() {
    let printed = run_driver_of_the_page(&["--create-many", "--tls"], "", "");

    assert!(printed.ends_with("ok: 86, WRONG: 0\n"), "{printed}");
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn client_that_says_nothing_was_written_when_something_may_have_been_is_wrong() {
    let cases = ["overloaded", "fails", "dies-after-reading-then-overloaded"];
    let printed = run_driver_of_the_page(&only(&cases), r#""unknown""#, r#""unavailable""#);

    assert_verdicts(&printed, &["ok   ", "WRONG", "WRONG"]);
    let wrong = r#"after 2 attempts the client says "unavailable", must say unknown"#;
    assert!(printed.contains(wrong), "{printed}");
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn client_that_takes_its_own_first_attempt_for_another_create_is_wrong() {
    let cases = ["replays", "dies-after-reading-then-replays"];
    let printed = run_driver_of_the_page(&only(&cases), r#""created""#, r#""replayed""#);

    assert_verdicts(&printed, &["ok   ", "WRONG"]);
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn client_that_makes_up_an_id_is_wrong() {
    let printed = run_driver_of_the_page(&only(&["creates"]), "create(id=id, ", "create(");

    assert_verdicts(&printed, &["WRONG"]);
    let wrong = "must send the id, the e-mail address and the name as they are";
    assert!(printed.contains(wrong), "{printed}");
}

/// The options with which the program runs these cases.
fn only<'a>(cases: &[&'a str]) -> Vec<&'a str> {
    cases.iter().flat_map(|case| ["--case", *case]).collect()
}

/// Runs the program against the driver of the page, with a word in it replaced.
fn run_driver_of_the_page(options: &[&str], word: &str, other: &str) -> String {
    let page = fs::read_to_string(root().join("clients/conformance/README.md")).unwrap();
    let (_, rest) = page.split_once("```python\n").unwrap();
    let driver = rest.split("```").next().unwrap();
    assert!(driver.contains(word), "{word} is not in {driver}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("driver.py");
    fs::write(&path, driver.replace(word, other)).unwrap();

    run(options, &[python(), &path]).1
}

/// The exit status of the program, and what it prints.
fn run(options: &[&str], driver: &[impl AsRef<OsStr>]) -> (Option<i32>, String) {
    let mut program = Command::new(binary("users-conformance"));
    // Some cases take all of this time.
    program.args(["--timeout-ms", "1500", "--jobs", "6"]);
    program.args(["--patience-ms", "60000"]);
    program.args(options).arg("--").args(driver);
    let output = program.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{printed}{error}");
    (output.status.code(), printed)
}

fn assert_verdicts(printed: &str, expected: &[&str]) {
    let cases = printed
        .lines()
        .filter(|line| line.contains(": the service"));
    let verdicts: Vec<&str> = cases.map(|line| &line[..5]).collect();
    assert_eq!(verdicts, expected, "{printed}");
}
