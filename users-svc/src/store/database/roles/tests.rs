//! Roles of a real PostgreSQL.

use super::super::testing::{SERVER, connect, database, logged};
use super::*;
use crate::migrations::{Migrator, migrate};

/// The URLs of a fresh database, for its owner and for a role that may only connect.
fn roles() -> [String; 2] {
    let owner = SERVER.fresh_database().unwrap();
    let name = owner.rsplit('/').next().unwrap();
    let running = SERVER.ensure_role(name, name).unwrap();
    [owner, running]
}

/// Migrates the owner's database, for the role of `running` where there is one.
fn migrate_for(owner: &str, running: Option<&str>) {
    let role = running.map(|url| database(url).role().unwrap().to_owned());
    let migrator = Migrator {
        database: database(owner),
        running_role: role,
    };
    migrate(&migrator).unwrap();
}

#[test]
fn migration_grants_the_running_role_once_what_it_needs() {
    let [owner, running] = roles();

    let first = logged(|| migrate_for(&owner, Some(&running)));
    let second = logged(|| migrate_for(&owner, Some(&running)));

    assert!(first.contains("granted"), "{first}");
    assert_eq!(second, "");
    let mut running = connect(&running);
    ensure_sufficient(&mut running).unwrap();
    assert_eq!(logged(|| warn_if_excessive(&mut running).unwrap()), "");
}

#[test]
fn role_that_may_do_too_little_is_refused_and_one_that_may_do_too_much_warned_about() {
    let [owner, running] = roles();
    migrate_for(&owner, None);
    let (mut owner, mut running) = (connect(&owner), connect(&running));

    let refusal = ensure_sufficient(&mut running).unwrap_err().to_string();
    ensure_sufficient(&mut owner).unwrap();
    let warning = logged(|| warn_if_excessive(&mut owner).unwrap());

    assert!(refusal.contains("run `users-svc migrate`"), "{refusal}");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("may change and delete users"), "{warning}");
}
