//! Limits of waits on a real PostgreSQL.

use super::super::testing::{PATIENCE, SERVER, connect};
use super::*;

#[test]
fn limit_of_a_piece_of_work_ends_with_it() {
    let mut client = connect(&SERVER.url("postgres"));
    let mut wait = || client.batch_execute("SELECT pg_sleep(0.01)");
    let no_time = || within(Duration::ZERO, || ());

    no_time();
    let without_limit = wait();
    let within_another = within(PATIENCE, || {
        no_time();
        wait()
    });

    without_limit.unwrap();
    within_another.unwrap();
}
