//! The checker notices answers that no order can explain, and lets those pass that keep the promise.

use std::time::Duration;

use super::checker::check;
use super::client::{Attempt, Done, Operation};
use super::history::{Row, Told};
use super::importer::Imported;
use super::linearizability_tests::{START, get, row, wrong};
use super::{DEADLINE, SLACK};

/// What the checker says of one create by Jane, which was answered so, and after so long.
fn violations_of(key: Option<&str>, status: u16, took: Duration, user: Row) -> Vec<String> {
    let answered = Attempt::Answered {
        status,
        user,
        is_replay: false,
        begin: *START,
        end: *START + took,
        frozen: false,
        has_new_key: false,
    };
    let operation = Operation {
        key: key.map(str::to_owned),
        email: "jane@example.com".to_owned(),
        name: "jane".to_owned(),
        by_rpc: false,
        attempts: vec![answered],
    };
    let done = Done {
        operations: vec![operation],
        reads: vec![],
    };
    wrong(check(done, Imported::default(), &[row("1", "jane")]))
}

#[test]
fn checker_notices_answers_that_no_fault_may_cause() {
    let jane = || row("1", "jane");
    assert_eq!(violations_of(None, 201, DEADLINE, jane()), [""; 0]);
    let late = DEADLINE + SLACK * 2;
    let unasked = "a row that nobody asked for";
    for (key, status, took, wrong) in [
        (None, 503, DEADLINE, &[unasked][..]),
        (
            None,
            500,
            DEADLINE,
            &["a status that no fault may cause", unasked],
        ),
        (None, 201, late, &["an answer after the deadline"]),
        (Some("k"), 201, DEADLINE, &["201 with another user"]),
        (
            Some("k"),
            504,
            DEADLINE,
            &[unasked, "a retry with the same key did not settle it"],
        ),
    ] {
        assert_eq!(violations_of(key, status, took, jane()), wrong, "{status}");
    }
    let joe = violations_of(None, 201, DEADLINE, row("1", "joe"));
    assert_eq!(joe, ["201 with another user"]);
}

#[test]
fn checker_notices_reads_that_are_answered_with_an_error() {
    let read = get((0, Some(10)), "1", Told::Status(500));
    let done = Done {
        operations: vec![],
        reads: vec![read],
    };
    assert_eq!(
        wrong(check(done, Imported::default(), &[])),
        ["a status that no fault may cause"]
    );
}
