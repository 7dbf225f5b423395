//! The role that the service runs as: made by an administrator, granted what it needs by the migration, and able
//! to do nothing else.

use std::process::Command;

use postgres::error::SqlState;
use postgres_server::Server;

use crate::promise::assert_recovers;
use e2e::{Program, System, binary, database, free_addr, root, spawn_users, start_users};

/// Runs `users-svc migrate` and returns it once it has ended.
fn migrate(running: &str, owner: &str) -> Program {
    let settings = [("DATABASE_URL", running), ("DATABASE_MIGRATE_URL", owner)];
    let migrate = format!("exec {} migrate", binary("users-svc").display());
    let mut migrate = Program::start_shell(&migrate, &settings);
    migrate.ended();
    migrate
}

#[test]
fn running_role_can_select_and_insert_users_and_nothing_else() {
    let system = System::start();
    assert_recovers(&system, "calm");
    let mut owner = system.sql();
    // Before PostgreSQL 15, everyone may create tables, unless an administrator takes that away.
    owner
        .batch_execute(
            "CREATE TABLE secrets (secret text); REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        )
        .unwrap();
    let running = database::for_running_role(&system.database).unwrap();
    let mut running = database::connect(&running);

    for allowed in [
        "SELECT * FROM users",
        "INSERT INTO users VALUES (gen_random_uuid(), 'role@example.com', 'Role')",
        "SELECT insert_new_users(ARRAY[gen_random_uuid()], ARRAY['fn@example.com'], ARRAY['Fn'])",
        "SELECT * FROM refinery_schema_history",
    ] {
        running.batch_execute(allowed).expect(allowed);
    }
    for forbidden in [
        "UPDATE users SET name = 'x'",
        "DELETE FROM users",
        "TRUNCATE users",
        "DROP TABLE users",
        "ALTER TABLE users ADD COLUMN x int",
        "CREATE INDEX ON users (name)",
        "CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "SELECT * FROM secrets",
        "SELECT * FROM pg_authid",
        "COPY users TO '/tmp/users'",
        "COPY users TO PROGRAM 'cat'",
        "INSERT INTO refinery_schema_history VALUES (99, 'x', 'x', 'x')",
        "SET ROLE postgres",
    ] {
        let error = running.batch_execute(forbidden).expect_err(forbidden);
        assert_eq!(
            error.code(),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE),
            "{forbidden}"
        );
    }
}

#[test]
fn migration_grants_the_running_role_what_it_needs_once() {
    let server = Server::temporary().unwrap();
    let owner = server.ensure_database("users").unwrap();
    let mut sql = server.connect("users").unwrap();
    // A name that has to be quoted, and a database that gives no one anything.
    sql.batch_execute(
        "CREATE ROLE \"it's me\" LOGIN PASSWORD 'p'; REVOKE ALL ON SCHEMA public FROM PUBLIC",
    )
    .unwrap();
    let running = format!("{owner}?user=it%27s%20me&password=p");

    let mut first = migrate(&running, &owner);
    first.wait_for("granted the role");
    let mut second = migrate(&running, &owner);
    second.wait_for("nothing to do");
    assert!(!second.output().contains("granted"), "{}", second.output());

    let more = [("MIGRATE_ON_START", "false"), ("DATABASE_URL", &*running)];
    let users = start_users(&free_addr(), &owner, &more);
    assert!(!users.output().contains("WARN"), "{}", users.output());
}

#[test]
fn script_of_the_compose_file_makes_the_running_role_and_can_be_run_again() {
    let server = Server::temporary().unwrap();
    let owner = server.ensure_database("users").unwrap();
    let script = root().join("deploy/postgres/users-svc-role.sql");
    for password in ["first", "it's second"] {
        let run = Command::new(server.program("psql"))
            .args(["--quiet", &owner, "--file"])
            .arg(&script)
            .env("USERS_SVC_PASSWORD", password)
            .status();
        assert!(run.unwrap().success());
    }

    let running = format!("{owner}?user=users_svc&password=it%27s%20second");
    let system = System::start_on(&owner, &[("DATABASE_URL", &running)], &[]);
    assert_recovers(&system, "scripted");
    let mut running = database::connect(&running);
    assert!(
        running
            .batch_execute("CREATE TEMPORARY TABLE mine (x int)")
            .is_err()
    );
}

#[test]
fn running_role_that_is_missing_is_told_with_the_sql_that_makes_it() {
    let owner = database::fresh_database();
    let running = format!("{owner}?user=no%20one&password=hunter2");
    let mut migrate = migrate(&running, &owner);
    let line = migrate.wait_for("CREATE ROLE \"no one\" LOGIN PASSWORD");
    assert!(!line.contains("hunter2"), "{line}");
}

#[test]
fn running_role_without_its_rights_is_refused_with_what_grants_them() {
    let owner = database::fresh_database();
    let running = database::for_running_role(&owner).unwrap();
    // By the owner, for itself only.
    migrate(&owner, &owner).wait_for("applied");
    let more = [("MIGRATE_ON_START", "false"), ("DATABASE_URL", &*running)];
    let mut users = spawn_users("127.0.0.1:0", &owner, &more);
    assert_eq!(users.ended().code(), Some(1));
    users.wait_for("run `users-svc migrate` with DATABASE_MIGRATE_URL");
}

#[test]
fn role_that_may_change_users_is_warned_about_where_it_does_not_migrate() {
    let owner = database::fresh_database();
    migrate(&owner, &owner).wait_for("applied");
    for (migrates, warns) in [("false", true), ("true", false)] {
        let more = [("MIGRATE_ON_START", migrates), ("DATABASE_URL", &*owner)];
        let users = start_users(&free_addr(), &owner, &more);
        assert_eq!(
            users.output().contains("may change and delete users"),
            warns
        );
    }
}
