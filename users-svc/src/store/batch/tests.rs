//! What is said of each user, by what the batch inserted and by the rows that are there then.

use super::*;
use crate::user::{Email, Name, UserId};

const A: u128 = 0xa;
const B: u128 = 0xb;

fn user(id: u128, email: &str, name: &str) -> NewUser {
    NewUser {
        id: UserId::parse(&Uuid::from_u128(id).to_string()).unwrap(),
        email: Email::parse(email).unwrap(),
        name: Name::parse(name).unwrap(),
    }
}

/// What is said of a batch of `users` when those with the ids `inserted` were inserted, and `rows` are there.
fn explain(users: &[NewUser], inserted: &[u128], rows: &[NewUser]) -> Results {
    explain_after(users, inserted, rows, false)
}

/// The same of another attempt, after one that may have written.
fn explain_again(users: &[NewUser], inserted: &[u128], rows: &[NewUser]) -> Results {
    explain_after(users, inserted, rows, true)
}

fn explain_after(
    users: &[NewUser],
    inserted: &[u128],
    rows: &[NewUser],
    may_have_written: bool,
) -> Results {
    let users: Vec<_> = users.iter().collect();
    let inserted = inserted.iter().map(|id| Uuid::from_u128(*id)).collect();
    let rows = rows.iter().cloned().map(User::from).collect();
    Batch::new(&users, None).explain(inserted, rows, may_have_written)
}

#[test]
fn same_user_is_created_by_who_inserted_it_and_a_replay_for_others() {
    let jane = [user(A, "jane@b.io", "Jane")];
    assert_eq!(explain(&jane, &[A], &jane), [Ok(InsertOutcome::Created)]);
    assert_eq!(explain(&jane, &[], &jane), [Ok(InsertOutcome::Replayed)]);
    // Perhaps the attempt before inserted it.
    assert_eq!(
        explain_again(&jane, &[], &jane),
        [Ok(InsertOutcome::Created)]
    );

    let twice = [jane[0].clone(), jane[0].clone()];
    let once = [Ok(InsertOutcome::Created), Ok(InsertOutcome::Replayed)];
    assert_eq!(explain(&twice, &[A], &jane), once);
}

#[test]
fn user_whom_a_row_keeps_out_is_told_whether_it_has_the_id_or_the_address() {
    let jane = [user(A, "jane@b.io", "Jane")];
    for (row, outcome) in [
        (user(A, "jane@b.io", "J."), InsertOutcome::IdConflict),
        (user(A, "other@b.io", "Jane"), InsertOutcome::IdConflict),
        (user(B, "JANE@b.io", "Jane"), InsertOutcome::EmailTaken),
    ] {
        let rows = [row];
        assert_eq!(explain(&jane, &[], &rows), [Ok(outcome)], "{rows:?}");
        assert_eq!(explain_again(&jane, &[], &rows), [Ok(outcome)], "{rows:?}");
    }
}

#[test]
fn user_that_was_inserted_is_created_although_someone_has_changed_or_deleted_it_since() {
    let jane = [user(A, "jane@b.io", "Jane")];
    for rows in [
        &[][..],
        &[user(A, "jane@b.io", "J.")],
        &[user(B, "jane@b.io", "Jane")],
    ] {
        assert_eq!(
            explain(&jane, &[A], rows),
            [Ok(InsertOutcome::Created)],
            "{rows:?}"
        );
    }
}

#[test]
fn of_two_users_with_one_id_nobody_knows_which_was_inserted_when_it_is_gone() {
    let twins = [user(A, "jane@b.io", "Jane"), user(A, "joe@b.io", "Joe")];

    let gone = explain(&twins, &[A], &[]);
    let stored = explain(&twins, &[A], &twins[1..]);

    assert_eq!(gone, [Err(CallFailure::OutcomeUnknown); 2]);
    let second = [Ok(InsertOutcome::IdConflict), Ok(InsertOutcome::Created)];
    assert_eq!(stored, second);
}

#[test]
fn user_of_whom_nothing_is_there_was_not_inserted_unless_an_attempt_before_may_have() {
    let jane = [user(A, "jane@b.io", "Jane")];
    assert_eq!(explain(&jane, &[], &[]), [Err(CallFailure::NotExecuted)]);
    assert_eq!(
        explain_again(&jane, &[], &[]),
        [Err(CallFailure::OutcomeUnknown)]
    );
}
