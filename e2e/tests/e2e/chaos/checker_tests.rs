//! The checker accepts what keeps the promise, and notices each way to break it.

use super::DEADLINE;
use super::checker::{Row, check};
use super::client::{Attempt, Operation};

/// What the checker says of one create by Jane, answered with `status` and the id 1, and these rows: the
/// id and the name of each.
fn violations(status: u16, rows: &[(&str, &str)]) -> Vec<String> {
    violations_of(&[(status, false)], rows)
}

/// The same for one create that was sent as often as there are answers: the status of each, and whether it
/// says that it is a replay.
fn violations_of(answers: &[(u16, bool)], rows: &[(&str, &str)]) -> Vec<String> {
    let answered = |(status, is_replay): &(u16, bool)| Attempt::Answered {
        status: *status,
        id: Some("1".to_owned()),
        is_replay: *is_replay,
        took: DEADLINE,
        frozen: false,
    };
    let operation = Operation {
        key: None,
        email: "jane@example.com".to_owned(),
        name: "Jane".to_owned(),
        attempts: answers.iter().map(answered).collect(),
    };
    let row = |(id, name): &(&str, &str)| Row {
        id: (*id).to_owned(),
        email: "jane@example.com".to_owned(),
        name: (*name).to_owned(),
    };
    let rows: Vec<Row> = rows.iter().map(row).collect();
    let violations = check(&[operation], &rows).into_iter();
    violations
        .map(|violation| violation.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn checker_accepts_answers_that_keep_the_promise() {
    let none = Vec::<String>::new();
    let jane = ("1", "Jane");
    assert_eq!(violations(201, &[jane]), none);
    assert_eq!(violations(503, &[]), none);
    assert_eq!(violations(504, &[]), none);
    assert_eq!(violations(504, &[jane]), none);
}

#[test]
fn checker_notices_a_201_without_its_row() {
    assert_eq!(violations(201, &[]), ["201 without a row"]);
    assert_eq!(violations(201, &[("2", "Jane")]), ["201 with another id"]);
}

#[test]
fn checker_notices_rows_that_should_not_be_there() {
    let twice = [("1", "Jane"), ("2", "Jane")];
    assert_eq!(violations(201, &twice), ["two rows of one operation"]);
    assert_eq!(
        violations(503, &[("1", "Jane")]),
        ["a row, but every answer said that nothing was written"]
    );
    assert_eq!(
        violations(503, &[("2", "Joe")]),
        ["a row that no one asked for"]
    );
}

#[test]
fn checker_notices_replays_of_what_no_earlier_request_created() {
    let jane = [("1", "Jane")];
    for honest in [
        &[(201, false), (201, true)][..],
        &[(504, false), (201, true)],
        &[(503, false), (201, false), (201, true)],
    ] {
        assert_eq!(violations_of(honest, &jane), Vec::<String>::new());
    }
    for dishonest in [&[(201, true)][..], &[(503, false), (201, true)]] {
        let wrong = violations_of(dishonest, &jane);
        assert_eq!(wrong, ["a replay of what no earlier request created"]);
    }
}

#[test]
fn checker_notices_statuses_without_a_reason() {
    assert_eq!(violations(409, &[]), ["409 without a reason"]);
    assert_eq!(violations(422, &[]), ["422 without a reason"]);
    assert_eq!(violations(500, &[]), ["a status that no fault may cause"]);
}
