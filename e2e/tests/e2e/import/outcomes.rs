//! What an import says of rows that it had to repeat, or that were in flight when it stopped.

use std::fs;

use serde_json::{Value, json};
use users_conformance::Step;

use super::many;
use crate::clients::Client;
use crate::clients::conformance as scripted;
use crate::clients::output_of;

/// Imports `rows` rows at a service that follows the script.
fn import(script: &'static [Step], rows: usize, patience: &str) -> (i32, Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.csv");
    fs::write(&file, many(rows)).unwrap();
    let mut import = Client::rust().command(&scripted::start(script));
    import.args(["import", "--patience", patience]).arg(file);
    output_of(&mut import)
}

#[test]
fn row_that_was_stored_by_an_attempt_of_the_import_counts_as_created() {
    // The client makes three attempts of a create before it is unknown.
    let script = &[Step::Fails, Step::Fails, Step::Fails, Step::Replays];
    let (status, report) = import(script, 1, "10");

    assert_eq!((status, &report["outcomes"]), (0, &json!({ "created": 1 })));
}

#[test]
fn row_that_may_have_been_written_stays_unknown_when_its_repetitions_are_refused() {
    let script = &[Step::Fails, Step::Fails, Step::Fails, Step::Overloaded];
    let (status, _) = import(script, 1, "1");

    assert_eq!(status, 5);
}

#[test]
fn import_that_stops_waits_for_rows_in_flight_which_may_be_written() {
    // Three calls.
    let script = &[Step::Hangs, Step::Creates, Step::Overloaded];
    let (status, report) = import(script, 1500, "0");

    // The rows of one were created, those of one were refused, and of those of one nobody knows.
    let created = json!({ "created": 500 });
    assert_eq!((status, &report["outcomes"]), (5, &created));
}
