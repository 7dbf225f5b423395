//! What a 201 rests on: PostgreSQL's settings, and the synchronous standby.

use std::thread;

use postgres_server::Server;

use crate::promise::create;
use e2e::database::count;
use e2e::{System, database, eventually, start_users};

/// The line of the log in which the service warns of a setting.
fn warning(sql: &str, role: &str) -> String {
    let url = database::fresh_database();
    let name = url.rsplit('/').next().unwrap();
    let sql = sql.replace("{database}", name).replace("{role}", role);
    database::connect(&url).batch_execute(&sql).unwrap();
    let (before, place) = url.rsplit_once('@').unwrap();
    let url = match role {
        "" => format!("{before}@{place}"),
        role => format!("postgres://{role}:p@{place}"),
    };
    let mut users = start_users(&e2e::free_addr(), &url, &[]);
    users.wait_for("synchronous_commit=off")
}

#[test]
fn commit_that_does_not_wait_for_the_disk_is_warned_about() {
    let of_database = "ALTER DATABASE {database} SET synchronous_commit = off";
    let of_role = "CREATE ROLE {role} LOGIN PASSWORD 'p'; \
                   ALTER ROLE {role} SET synchronous_commit = off; \
                   ALTER DATABASE {database} OWNER TO {role}; GRANT ALL ON SCHEMA public TO {role}";
    for (sql, role) in [(of_database, ""), (of_role, "careless")] {
        let line = warning(sql, role);
        assert!(line.contains("WARN") && line.contains("lost"), "{line}");
    }
}

#[test]
fn server_without_fsync_is_warned_about() {
    let mut server = Server::temporary().unwrap();
    let mut sql = server.connect("postgres").unwrap();
    sql.batch_execute("ALTER SYSTEM SET fsync = off").unwrap();
    drop(sql);
    server.stop();
    server.start_again().unwrap();
    let url = server.fresh_database().unwrap();
    let mut users = start_users(&e2e::free_addr(), &url, &[]);
    let line = users.wait_for("fsync=off");
    assert!(line.contains("WARN") && line.contains("crash"), "{line}");
}

#[test]
fn setting_that_hides_a_cancelled_wait_for_the_standby_is_logged() {
    let server = Server::temporary().unwrap();
    let mut sql = server.connect("postgres").unwrap();
    let set_standby = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
    let url = server.fresh_database().unwrap();
    let options = format!("{url}?options=-c%20client_min_messages%3Derror");
    drop(start_users(&e2e::free_addr(), &options, &[]));
    sql.batch_execute(set_standby).unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").unwrap();

    let no_writes = [("MIGRATE_ON_START", "false")];
    let mut users = start_users(&e2e::free_addr(), &options, &no_writes);

    let line = users.wait_for("client_min_messages=warning");
    assert!(line.contains("WARN"), "{line}");
}

#[test]
fn cancelled_wait_for_the_standby_is_no_201_until_the_standby_has_the_row() {
    let server = Server::temporary().unwrap();
    let mut sql = server.connect("postgres").unwrap();
    // The service asks for the warning that tells of it, whatever its role is set to.
    let hide_warnings = "ALTER ROLE ALL SET client_min_messages = error";
    sql.batch_execute(hide_warnings).unwrap();
    let system = System::start_on(&server.fresh_database().unwrap(), &[], &[]);
    let mut set_standby = |name: &str| {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
        sql.batch_execute(&set).unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").unwrap();
    };
    // One that never comes.
    set_standby("nobody");
    let waiting = "pg_stat_activity WHERE wait_event = 'SyncRep'";

    let status = thread::scope(|scope| {
        let call = scope.spawn(|| create(&system, "cancelled"));
        let mut sql = system.sql();
        while !call.is_finished() {
            let cancel = format!("SELECT pg_cancel_backend(pid) FROM {waiting}");
            sql.execute(&cancel, &[]).unwrap();
        }
        call.join().unwrap()
    });

    assert_eq!(count(&system.database, "users"), 1, "it is committed here");
    assert_eq!(status, 504);
    set_standby("");
    eventually("commits no longer wait", || {
        create(&system, "cancelled") == 201
    });
}
