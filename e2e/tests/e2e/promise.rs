//! The promise, held against the table: 201 is one row, 503 is none, and a retry settles a 504.

use std::time::{Duration, Instant};

use e2e::{System, database::count};

/// Longer than `REQUEST_TIMEOUT_MS`, by what a busy machine takes.
const LIMIT: Duration = Duration::from_secs(7);

/// Creates a user with a key; the answer must come in time and be one that a fault may cause.
pub fn create(system: &System, name: &str) -> u16 {
    let start = Instant::now();
    let email = format!("{name}@example.com");
    let status = system.http.create_with_key(&email, name, name).status;
    assert!(start.elapsed() < LIMIT, "{name}: {:?}", start.elapsed());
    assert!([201, 503, 504].contains(&status), "{name}: {status}");
    status
}

/// Whether a create that became this has to be settled: with the same key it must succeed now.
pub fn settle(system: &System, name: &str, status: u16) {
    if status == 504 {
        assert_eq!(create(system, name), 201, "{name}");
    }
}

/// Creates users until three succeed, and checks the promise for all of them.
pub fn assert_recovers(system: &System, prefix: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    let mut statuses = Vec::new();
    let created = |statuses: &[u16]| statuses.iter().filter(|s| **s == 201).count();
    while created(&statuses) < 3 {
        assert!(Instant::now() < end, "{prefix}: it does not recover");
        statuses.push(create(system, &format!("{prefix}{}", statuses.len())));
    }

    for (number, status) in statuses.iter().enumerate() {
        settle(system, &format!("{prefix}{number}"), *status);
    }
    let written = statuses.iter().filter(|s| **s != 503).count();
    let rows = count(
        &system.database,
        &format!("users WHERE name LIKE '{prefix}%'"),
    );
    let expected = i64::try_from(written).unwrap();
    assert_eq!(
        rows, expected,
        "{prefix}: 503 must have written nothing, 201 one row"
    );
}
