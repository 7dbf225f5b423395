//! The checker notices answers that no order can explain, and lets those pass that keep the promise.

use std::time::Duration;

use super::checker::check;
use super::client::{Attempt, Done, Operation};
use super::linearizability_tests::{START, row, wrong};
use super::{DEADLINE, SLACK};

/// What the checker says of one create by Jane, sent as often as there are answers: how long each took.
fn violations_of(key: Option<&str>, answers: &[(u16, Duration)]) -> Vec<String> {
    let answered = |(status, took): &(u16, Duration)| Attempt::Answered {
        status: *status,
        id: Some("1".to_owned()),
        is_replay: false,
        begin: *START,
        end: *START + *took,
        frozen: false,
    };
    let operation = Operation {
        key: key.map(str::to_owned),
        email: "jane@example.com".to_owned(),
        name: "jane".to_owned(),
        attempts: answers.iter().map(answered).collect(),
    };
    let done = Done {
        operations: vec![operation],
        reads: vec![],
    };
    wrong(check(done, &[row("1", "jane")]))
}

#[test]
fn checker_notices_answers_that_no_fault_may_cause() {
    assert_eq!(violations_of(None, &[(201, DEADLINE)]), [""; 0]);
    let unasked = "a row that nobody asked for";
    for (key, status, took, wrong) in [
        (None, 503, DEADLINE, &[unasked][..]),
        (
            None,
            500,
            DEADLINE,
            &[unasked, "a status that no fault may cause"],
        ),
        (
            None,
            201,
            DEADLINE + SLACK * 2,
            &["an answer after the deadline"],
        ),
        (Some("k"), 201, DEADLINE, &["201 with another id"]),
        (
            Some("k"),
            504,
            DEADLINE,
            &[unasked, "a retry with the same key did not settle it"],
        ),
    ] {
        assert_eq!(violations_of(key, &[(status, took)]), wrong, "{status}");
    }
}
