//! Databases for tests, and what tests ask them.

use std::{net::Ipv4Addr, sync::LazyLock};

use postgres::{Client, NoTls};
use postgres_server::Server;

use crate::proxy::Proxy;

/// The server of all tests that leave it alone. It ends with this process, and takes its data along.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let mut server = Server::temporary().unwrap();
    // Many tests run at once on a machine with many processors, and each service has a pool.
    let mut sql = server.connect("postgres").unwrap();
    sql.batch_execute("ALTER SYSTEM SET max_connections = 500")
        .unwrap();
    server.stop();
    server.start_again().unwrap();
    server
});

/// An empty database that no other test uses, on a server that all share. A test that stops, breaks or
/// configures its server starts one of its own.
pub fn fresh_database() -> String {
    SERVER.fresh_database().unwrap()
}

/// The URL of the same database for a role that may only do what it is granted, on the server that `database`
/// is a superuser's URL of; `None` when it is another role's, or the server is not there.
pub fn for_running_role(database: &str) -> Option<String> {
    const CREATE: &str = "DO $$ BEGIN CREATE ROLE users_svc LOGIN PASSWORD 'users_svc'; \
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    let config: postgres::Config = database.parse().ok()?;
    if config.get_user() != Some("postgres") {
        return None;
    }
    config.connect(NoTls).ok()?.batch_execute(CREATE).unwrap();
    // Of an option that is given twice, the last counts.
    Some(match (database.contains("://"), database.contains('?')) {
        (true, false) => format!("{database}?user=users_svc&password=users_svc"),
        (true, true) => format!("{database}&user=users_svc&password=users_svc"),
        _ => format!("{database} user=users_svc password=users_svc"),
    })
}

pub fn connect(database: &str) -> Client {
    Client::connect(database, NoTls).unwrap()
}

/// Counts the rows of a table, of which `from` may also state a condition.
pub fn count(database: &str, from: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {from}");
    connect(database).query_one(&query, &[]).unwrap().get(0)
}

/// Users stored in a database.
pub fn rows(database: &str) -> i64 {
    count(database, "users")
}

/// Ends all other connections to this one's database, as an administrator would.
pub fn terminate_others(sql: &mut Client) -> Result<u64, postgres::Error> {
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sql.execute(others, &[])
}

/// A proxy in front of `server`, and the URL that leads through it to the same database.
pub fn behind_proxy(server: &Server, database: &str) -> (Proxy, String) {
    let link = Proxy::start((Ipv4Addr::LOCALHOST, server.port()).into());
    let direct = format!(":{}/", server.port());
    let proxied = database.replace(&direct, &format!(":{}/", link.addr.port()));
    (link, proxied)
}
