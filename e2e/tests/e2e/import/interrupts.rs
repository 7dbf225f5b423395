//! Signals: an import that is told to stop settles what it has begun, and says what it has done.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use e2e::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use users_conformance::Step;

use super::{Service, many};
use crate::clients::Client;
use crate::clients::conformance as scripted;

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(import: &Child, signal: Signal) {
    kill(Pid::from_raw(import.id().try_into().unwrap()), signal).unwrap();
}

/// Signals an import whose input goes on for ever: its exit status, its report, what it says, and the rejected rows.
fn interrupted_by(with: Signal) -> (Option<i32>, Value, String, String) {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    let rejected = folder.path().join("rejected.csv");
    let words = ["--rejected", rejected.to_str().unwrap(), "-"];
    let mut import = spawn(&mut service.command(&words));
    // Stays open: more rows could come.
    let mut input = import.stdin.take().unwrap();
    input.write_all(many(500).as_bytes()).unwrap();
    input.write_all(b"nobody,Nobody\n").unwrap();
    eventually("the rows are there", || service.rows() >= 400);
    let has_rejected =
        || fs::read_to_string(&rejected).is_ok_and(|text| text.contains("nobody,Nobody,502"));
    eventually("the rejected row is written", has_rejected);

    signal(&import, with);

    let output = import.wait_with_output().unwrap();
    drop(input);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stored = report["outcomes"]["created"].as_i64();
    assert_eq!(
        stored,
        Some(service.rows()),
        "every row in flight is settled"
    );
    let error = String::from_utf8(output.stderr).unwrap();
    let rejected = fs::read_to_string(rejected).unwrap();
    (output.status.code(), report, error, rejected)
}

#[test]
fn interrupted_import_prints_its_summary_and_keeps_its_rejected_rows() {
    for (with, status, word) in [
        (Signal::SIGINT, 130, "interrupted"),
        (Signal::SIGTERM, 143, "terminated"),
    ] {
        let (ended, report, error, rejected) = interrupted_by(with);

        assert_eq!(
            (ended, &report["unsettled"]),
            (Some(status), &json!(0)),
            "{error}"
        );
        assert_eq!(report["outcomes"]["invalid"], 1);
        assert!(error.contains(&format!("stopped: {word}")), "{error}");
        assert!(
            error.contains("import the same file again to go on"),
            "{error}"
        );
        assert_eq!(rejected.lines().count(), 2, "{rejected}");
    }
}

#[test]
fn second_signal_stops_an_import_without_the_rows_in_flight() {
    let mut command = Client::rust()
        .command_with_timeout(&scripted::start(&[Step::Hangs]), Duration::from_secs(60));
    let mut import = spawn(command.args(["import", "-"]));
    let mut input = import.stdin.take().unwrap();
    input.write_all(b"email,name\na@example.com,A\n").unwrap();
    let mut said = BufReader::new(import.stderr.take().unwrap()).lines();

    // The first one may come before the row was sent.
    thread::sleep(Duration::from_secs(1));
    signal(&import, Signal::SIGINT);
    let stopping = said.next().unwrap().unwrap();
    let begin = Instant::now();
    signal(&import, Signal::SIGINT);
    let status = import.wait().unwrap();

    assert!(
        stopping.contains("rows in flight: 1 (again to stop without them)"),
        "{stopping}"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(status.code(), Some(5));
    let mut report = String::new();
    import
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut report)
        .unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["rows"], &report["unsettled"]),
        (&json!(0), &json!(1))
    );
}
