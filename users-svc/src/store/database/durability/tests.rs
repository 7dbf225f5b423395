//! Warnings of a real PostgreSQL, and about its settings.

use postgres_server::{Server, wait_until};

use super::super::testing::{PATIENCE, SERVER, connect, logged};
use super::*;

#[test]
fn warning_of_the_server_is_remembered_until_someone_asks() {
    let mut client = connect(&SERVER.url("postgres"));
    let show_all = "SET client_min_messages = notice";
    client.batch_execute(show_all).unwrap();
    let mut raise = |level: &str| {
        let raise = format!("DO $$ BEGIN RAISE {level} 'jane@example.com'; END $$");
        let said = logged(|| client.batch_execute(&raise).unwrap());
        (said, take_durability_warning())
    };

    let notice = raise("NOTICE");
    let (said, is_warned) = raise("WARNING");

    assert_eq!(notice, (String::new(), false));
    assert!(is_warned);
    assert!(!take_durability_warning());
    assert!(said.contains("may not be durable"), "{said}");
    assert!(!said.contains("jane"), "{said}");
}

#[test]
fn each_setting_that_endangers_what_is_acknowledged_is_warned_about() {
    let server = Server::temporary().unwrap();
    let session = |options: &str| connect(&format!("{}?options={options}", server.url("postgres")));
    let warnings = |options: &str| {
        let mut client = session(options);
        logged(|| warn_unless_durable(&mut client).unwrap())
    };
    let careful = warnings("");
    let mut sql = server.connect("postgres").unwrap();
    for setting in [
        "fsync = off",
        "full_page_writes = off",
        "synchronous_standby_names = 'nobody'",
    ] {
        let set = format!("ALTER SYSTEM SET {setting}");
        sql.batch_execute(&set).unwrap();
    }
    sql.batch_execute("SELECT pg_reload_conf()").unwrap();
    let mut has_standby = || {
        let standby = session("").query_one("SHOW synchronous_standby_names", &[]);
        standby.unwrap().get::<_, &str>(0) == "nobody"
    };
    assert!(wait_until(PATIENCE, &mut has_standby));

    let of_server = warnings("");
    let no_wait = warnings("-c%20synchronous_commit%3Doff");
    let short_wait = warnings("-c%20synchronous_commit%3Dlocal");
    let silent = warnings("-c%20client_min_messages%3Derror");

    assert_eq!(careful, "");
    let of_disk = ["fsync=off", "full_page_writes=off"];
    for (warned, also) in [
        (of_server, None),
        (no_wait, Some("synchronous_commit=off")),
        (short_wait, Some("set synchronous_commit=on")),
        (silent, Some("set client_min_messages=warning")),
    ] {
        let lines: Vec<_> = warned.lines().collect();
        let expected: Vec<_> = of_disk.into_iter().chain(also).collect();
        assert_eq!(lines.len(), expected.len(), "{warned}");
        for (line, says) in lines.into_iter().zip(expected) {
            assert!(line.contains("WARN") && line.contains(says), "{line}");
        }
    }
}
