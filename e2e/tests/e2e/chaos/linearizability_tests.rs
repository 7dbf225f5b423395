//! The checker of histories accepts what can have happened, and notices each kind of answer that cannot be right.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::history::{Asked, Event, Row, Told};
use super::linearizability::violations;

pub static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const CREATED: Told = Told::Created { is_replay: false };

/// Milliseconds since the start; without an end, there is no answer.
type Span = (u64, Option<u64>);

/// A user whose e-mail address is that of its name.
pub fn row(id: &str, name: &str) -> Row {
    Row {
        id: id.to_owned(),
        email: format!("{name}@example.com"),
        name: name.to_owned(),
    }
}

fn event((begin, end): Span, asked: Asked, told: Told) -> Event {
    let at = |ms| *START + Duration::from_millis(ms);
    Event {
        begin: at(begin),
        end: end.map(at),
        asked,
        told,
    }
}

fn create(span: Span, id: &str, name: &str, told: Told) -> Event {
    event(span, Asked::Create(row(id, name)), told)
}

/// A read of all users.
fn list(span: Span, told: &[Row]) -> Event {
    page(span, (None, None), told)
}

/// A read of those whose ids come after one and not after the other.
fn page(span: Span, (after, until): (Option<&str>, Option<&str>), told: &[Row]) -> Event {
    let page = Asked::Page {
        after: after.map(str::to_owned),
        until: until.map(str::to_owned),
    };
    event(span, page, Told::Rows(told.to_vec()))
}

pub fn get(span: Span, id: &str, told: Told) -> Event {
    event(span, Asked::Get(id.to_owned()), told)
}

fn rows(rows: &[Row]) -> Told {
    Told::Rows(rows.to_vec())
}

/// What is wrong, without the details.
pub fn wrong(violations: Vec<String>) -> Vec<String> {
    let first = |wrong: String| wrong.split(": ").next().unwrap().to_owned();
    violations.into_iter().map(first).collect()
}

#[track_caller]
fn assert_linearizable(events: &[Event], rows: &[Row]) {
    assert_eq!(violations(events, rows), [""; 0]);
}

#[track_caller]
fn assert_wrong(events: &[Event], rows: &[Row], what: &str) {
    assert_eq!(wrong(violations(events, rows)), [what]);
}

#[test]
fn checker_accepts_answers_in_any_order_that_time_allows() {
    let jane = [row("1", "jane")];
    let find = Asked::Find("jane@example.com".to_owned());
    assert_linearizable(
        &[
            create((0, Some(10)), "1", "jane", CREATED),
            // While it is being created, it is there for some and not for others.
            get((1, Some(9)), "1", rows(&[])),
            get((2, Some(8)), "1", rows(&jane)),
            list((20, Some(30)), &jane),
            event((20, Some(30)), find, Told::Rows(jane.to_vec())),
            create((5, Some(30)), "2", "jane", Told::EmailTaken),
            create((5, Some(30)), "1", "joe", Told::IdConflict),
            create(
                (20, Some(30)),
                "1",
                "jane",
                Told::Created { is_replay: true },
            ),
        ],
        &jane,
    );
}

#[test]
fn checker_accepts_that_what_is_unknown_happens_late_or_never() {
    let unknown = || create((0, None), "1", "jane", Told::Nothing);
    let missing = || get((50, Some(60)), "1", rows(&[]));
    assert_linearizable(&[unknown(), missing()], &[]);
    assert_linearizable(&[unknown(), missing()], &[row("1", "jane")]);
    // The second attempt did it, and the first one came after it.
    let second = create((70, Some(80)), "1", "jane", CREATED);
    assert_linearizable(&[unknown(), missing(), second], &[row("1", "jane")]);
}

#[test]
fn checker_notices_a_201_without_its_row() {
    let created = || [create((0, Some(10)), "1", "jane", CREATED)];
    assert_wrong(&created(), &[], "201 without its row");
    for other in [row("2", "jane"), row("1", "joe")] {
        let wrong = wrong(violations(&created(), &[other]));
        assert_eq!(
            wrong,
            ["201 without its row", "a row that nobody asked for"]
        );
    }
}

#[test]
fn checker_notices_rows_that_should_not_be_there() {
    assert_wrong(&[], &[row("1", "jane")], "a row that nobody asked for");
    let twice = [row("1", "jane"), row("2", "jane")];
    let created = create((0, Some(10)), "1", "jane", CREATED);
    assert_wrong(&[created], &twice, "a row that nobody asked for");
    // Another one than the row's is no attempt to create it, and neither is a replay.
    let replay = Told::Created { is_replay: true };
    for (name, told) in [("joe", Told::Nothing), ("jane", replay)] {
        let other = create((0, Some(10)), "1", name, told);
        assert_wrong(&[other], &[row("1", "jane")], "a row that nobody asked for");
    }
}

#[test]
fn checker_notices_conflicts_with_what_is_not_there() {
    let jane = [row("1", "jane")];
    let create_at = |begin, id, name, told| create((begin, Some(begin + 10)), id, name, told);
    let created = || create_at(50, "1", "jane", CREATED);
    for (id, name, told) in [
        ("2", "jane", Told::EmailTaken),
        ("1", "joe", Told::IdConflict),
    ] {
        let early = create_at(0, id, name, told);
        let wrong = "a row that was not there yet";
        assert_wrong(&[created(), early], &jane, wrong);
    }
    for (id, name, told, wrong) in [
        ("2", "joe", Told::EmailTaken, "409 without a reason"),
        ("1", "jane", Told::EmailTaken, "409 without a reason"),
        ("2", "joe", Told::IdConflict, "422 without a reason"),
        ("1", "jane", Told::IdConflict, "422 without a reason"),
    ] {
        assert_wrong(&[created(), create_at(100, id, name, told)], &jane, wrong);
    }
    // It should have been told of its id.
    let both = [row("1", "jane"), row("2", "joe")];
    let events = [
        created(),
        create_at(50, "2", "joe", CREATED),
        create_at(100, "2", "jane", Told::EmailTaken),
    ];
    assert_wrong(
        &events,
        &both,
        "a row that was missing after the last attempt",
    );
}

#[test]
fn checker_notices_reads_that_are_out_of_date_or_ahead() {
    let jane = [row("1", "jane")];
    let created = |span| create(span, "1", "jane", CREATED);
    assert_wrong(
        &[created((0, Some(10))), get((20, Some(30)), "1", rows(&[]))],
        &jane,
        "a row that was missing after the last attempt",
    );
    assert_wrong(
        &[
            created((20, Some(30))),
            get((0, Some(10)), "1", rows(&jane)),
        ],
        &jane,
        "a row that was not there yet",
    );
    assert_wrong(
        &[
            create((0, None), "1", "jane", Told::Nothing),
            list((10, Some(20)), &jane),
            list((30, Some(40)), &[]),
        ],
        &jane,
        "a row that was not there yet",
    );
    assert_wrong(
        &[
            created((0, Some(10))),
            get((20, Some(30)), "1", rows(&[row("1", "joe")])),
        ],
        &jane,
        "a row that was not asked for, or that nobody created",
    );
}

#[test]
fn checker_notices_pages_that_were_never_the_table() {
    let both = [row("1", "jane"), row("2", "joe")];
    let created = |begin, id, name| create((begin, Some(begin + 10)), id, name, CREATED);
    let one_after_the_other = [
        created(0, "1", "jane"),
        created(20, "2", "joe"),
        list((5, Some(50)), &both[1..]),
    ];
    assert_wrong(
        &one_after_the_other,
        &both,
        "a row that was missing after the last attempt",
    );
    let at_the_same_time = [
        created(0, "1", "jane"),
        created(0, "2", "joe"),
        list((0, Some(10)), &both[..1]),
        list((0, Some(10)), &both[1..]),
    ];
    assert_wrong(
        &at_the_same_time,
        &both,
        "answers that contradict each other about which row came first",
    );
}

#[test]
fn checker_holds_a_page_against_its_own_part_of_the_table() {
    let rows = ["1", "2", "3"].map(|id| row(id, id));
    let with = |page| {
        let created = rows
            .iter()
            .map(|row| create((0, Some(10)), &row.id, &row.name, CREATED));
        created.chain([page]).collect::<Vec<_>>()
    };
    let (span, late) = (
        (20, Some(30)),
        "a row that was missing after the last attempt",
    );
    assert_linearizable(&with(page(span, (None, Some("2")), &rows[..2])), &rows);
    assert_linearizable(&with(page(span, (Some("2"), None), &rows[2..])), &rows);
    assert_wrong(
        &with(page(span, (None, Some("2")), &rows[1..2])),
        &rows,
        late,
    );
    assert_wrong(
        &with(page(span, (Some("1"), None), &rows[1..2])),
        &rows,
        late,
    );

    let beyond = "a row that was not asked for, or that nobody created";
    assert_wrong(
        &with(page(span, (None, Some("1")), &rows[..2])),
        &rows,
        beyond,
    );
    let reversed = [rows[1].clone(), rows[0].clone()];
    for wrong in [
        page(span, (None, Some("1")), &reversed),
        page(span, (Some("1"), None), &rows),
    ] {
        assert_wrong(
            &with(wrong),
            &rows,
            "a page that is not in the order of the ids",
        );
    }
}
