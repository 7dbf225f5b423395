//! The checker accepts what keeps the promise, and notices each way to break it.

use super::DEADLINE;
use super::checker::{Row, check};
use super::client::{Attempt, Operation};

/// What the checker says of one create by Jane, answered with `status` and the id 1, and these rows: the
/// id and the name of each.
fn violations(status: u16, rows: &[(&str, &str)]) -> Vec<String> {
    let operation = Operation {
        key: None,
        email: "jane@example.com".to_owned(),
        name: "Jane".to_owned(),
        attempts: vec![Attempt::Answered {
            status,
            id: Some("1".to_owned()),
            took: DEADLINE,
            frozen: false,
        }],
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
fn checker_notices_statuses_without_a_reason() {
    assert_eq!(violations(409, &[]), ["409 without a reason"]);
    assert_eq!(violations(422, &[]), ["422 without a reason"]);
    assert_eq!(violations(500, &[]), ["a status that no fault may cause"]);
}
