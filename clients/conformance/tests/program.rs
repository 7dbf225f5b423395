//! The program finds drivers that are wrong, whatever is wrong with them. `e2e` runs it against clients that are right.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_users-conformance");

/// Runs cases against a driver that is a script of the shell.
fn check(options: &[&str], script: &str) -> Output {
    let mut program = Command::new(PROGRAM);
    program
        .args(options)
        .args(["--jobs", "16", "--patience-ms"]);
    // Starting a shell takes a while on a machine that is busy.
    program.args(["8000", "--timeout-ms", "300", "--", "sh", "-c", script]);
    program.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The lines of the cases that are right, or wrong.
fn lines<'a>(printed: &'a str, verdict: &'a str) -> Vec<&'a str> {
    let lines = printed.lines();
    lines.filter(|line| line.starts_with(verdict)).collect()
}

fn names() -> Vec<String> {
    let list = Command::new(PROGRAM).arg("--list").output().unwrap();
    let printed = stdout(&list);
    let names = printed.lines().map(|line| line.split(": ").next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn driver_that_always_says_unavailable_is_right_only_where_nobody_listens() {
    let output = check(&[], "read line; echo unavailable");

    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let right = lines(&printed, "ok   ");
    assert_eq!(right.len(), 1, "{printed}");
    assert!(right[0].starts_with("ok    goes-away: "), "{printed}");
    assert_eq!(lines(&printed, "WRONG").len(), names().len() - 1);
}

#[test]
fn driver_that_says_created_to_everything_is_wrong_everywhere() {
    let output = check(&["--create-many"], "read line; echo created");

    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert_eq!(lines(&printed, "ok   "), [""; 0]);
}

#[test]
fn cases_are_printed_in_the_order_of_the_list() {
    let printed = stdout(&check(&[], "read line; echo unavailable"));

    let cases = printed
        .lines()
        .filter(|line| line.contains(": the service"));
    let name = |line: &str| line[6..].split(": ").next().unwrap().to_owned();
    let printed_names: Vec<String> = cases.map(name).collect();
    assert_eq!(printed_names, names());
}

#[test]
fn driver_that_hangs_is_ended_and_named() {
    let begin = Instant::now();
    let options = ["--case", "goes-away", "--patience-ms", "100"];
    let mut program = Command::new(PROGRAM);
    program.args(options).args(["--timeout-ms", "100"]);
    let output = program
        .args(["--", "sh", "-c", "exec sleep 60"])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let printed = stdout(&output);
    let wrong = "WRONG goes-away: the service refuses connections; the driver printed no line within 200ms\n";
    assert!(printed.starts_with(wrong), "{printed}");
    // Starting programs takes a while on a machine that is busy.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn driver_that_dies_is_named_with_its_status_and_its_last_words() {
    let output = check(&["--case", "fails"], "echo out of luck >&2; exit 7");

    assert_eq!(output.status.code(), Some(1));
    let printed = stdout(&output);
    let wrong = "the driver ended without an answer (exit status: 7)\n";
    assert!(printed.contains(wrong), "{printed}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "fails: out of luck\n");
}

#[test]
fn driver_that_prints_rubbish_is_quoted() {
    let output = check(&["--case", "goes-away"], "read line; echo Traceback: oh");

    assert_eq!(output.status.code(), Some(1));
    let printed = stdout(&output);
    let wrong = r#"the client says "Traceback: oh", must say unavailable"#;
    assert!(printed.contains(wrong), "{printed}");
}

#[test]
fn driver_that_answers_for_one_of_two_users_is_wrong() {
    let case = ["--case", "many-goes-away"];

    let one = check(&case, "read line; echo unavailable");
    let two = check(&case, "read line; echo unavailable unavailable");

    assert_eq!(one.status.code(), Some(1), "{}", stdout(&one));
    assert_eq!(two.status.code(), Some(0), "{}", stdout(&two));
}

#[test]
fn driver_gets_the_address_the_timeout_and_the_files_of_tls() {
    let case = ["--case", "goes-away", "--tls"];
    let script = "test -s $2 -a -s $3 -a -s $4 && echo unavailable $0 $1";

    let printed = stdout(&check(&case, script));

    let (_, said) = printed
        .split_once(r#"the client says "unavailable "#)
        .unwrap();
    assert!(said.starts_with("localhost:"), "{printed}");
    assert!(said.contains(r#" 300", must say "#), "{printed}");
}

#[test]
fn wrong_usage_is_told_from_a_wrong_client() {
    for arguments in [
        &[][..],
        &["--case", "no-such-case", "--", "true"],
        &["--", "/no/such/program"],
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
