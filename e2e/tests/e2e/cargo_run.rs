//! `cargo run`: starts everything, keeps the data, and leaves nothing behind.

use std::{fs, net::TcpListener, path::Path};

use e2e::{Http, Program, eventually, free_port};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A directory that the user PostgreSQL runs as can get into.
fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn start(dir: &Path, settings: &[(&str, &str)]) -> Program {
    let ports = [("HTTP_ADDR", "127.0.0.1:0"), ("RPC_ADDR", "127.0.0.1:0")];
    let settings = [&ports[..], settings].concat();
    Program::start(&e2e::binary("stack"), dir, &settings)
}

fn http(stack: &mut Program) -> Http {
    let line = stack.wait_for("gateway on http://localhost:");
    let port = line
        .split("localhost:")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    Http::new(port.parse().unwrap())
}

/// Whether a server still runs on the data in `dir`.
fn server_runs(dir: &Path) -> bool {
    dir.join(".data/postgres/postmaster.pid").exists()
}

fn wait_until_gone(dir: &Path) {
    eventually("PostgreSQL is gone", || !server_runs(dir));
}

#[test]
fn the_second_start_finds_the_users_of_the_first() {
    let dir = folder();
    for (stop, status) in [
        (Signal::SIGTERM, 201),
        (Signal::SIGINT, 409),
        (Signal::SIGTERM, 409),
    ] {
        let mut stack = start(dir.path(), &[]);
        assert_eq!(
            http(&mut stack)
                .create("jane@example.com", "Jane Doe")
                .status,
            status
        );
        stack.signal(stop);
        assert_eq!(stack.ended().code(), Some(0), "{}", stack.output());
        assert!(!server_runs(dir.path()));
    }
}

#[test]
fn killed_it_leaves_no_server_behind_and_the_next_start_finds_the_users() {
    let dir = folder();
    let mut stack = start(dir.path(), &[]);
    assert_eq!(
        http(&mut stack)
            .create("jane@example.com", "Jane Doe")
            .status,
        201
    );
    stack.signal(Signal::SIGKILL);
    stack.ended();
    // At once, while the old server may still be stopping.
    let mut stack = start(dir.path(), &[]);
    assert_eq!(
        http(&mut stack)
            .create("jane@example.com", "Jane Doe")
            .status,
        409
    );
    drop(stack);
    wait_until_gone(dir.path());
}

#[test]
fn after_a_crash_of_the_machine_the_data_recover() {
    let dir = folder();
    let mut stack = start(dir.path(), &[]);
    assert_eq!(
        http(&mut stack)
            .create("jane@example.com", "Jane Doe")
            .status,
        201
    );
    // The server first, so that it cannot tidy up; its lock file stays.
    let lock_file = dir.path().join(".data/postgres/postmaster.pid");
    let pid = fs::read_to_string(&lock_file)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    stack.signal(Signal::SIGSTOP);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    stack.signal(Signal::SIGKILL);
    stack.ended();
    assert!(lock_file.exists());
    let mut stack = start(dir.path(), &[]);
    assert_eq!(
        http(&mut stack)
            .create("jane@example.com", "Jane Doe")
            .status,
        409
    );
}

#[test]
fn when_postgres_ends_by_itself_it_says_so_and_ends() {
    let dir = folder();
    let mut stack = start(dir.path(), &[]);
    http(&mut stack);
    let lock_file = dir.path().join(".data/postgres/postmaster.pid");
    let pid = fs::read_to_string(lock_file)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGINT).unwrap();
    assert_eq!(stack.ended().code(), Some(1));
    stack.wait_for("PostgreSQL ended by itself");
}

#[test]
fn a_taken_port_is_named_with_the_setting_that_changes_it() {
    let dir = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for setting in ["HTTP_ADDR", "RPC_ADDR"] {
        let mut stack = start(dir.path(), &[(setting, &addr)]);
        assert_eq!(stack.ended().code(), Some(1));
        let said = stack.wait_for("is taken");
        assert!(
            said.contains(&taken.local_addr().unwrap().port().to_string()),
            "{said}"
        );
        assert!(said.contains(&format!("{setting}=")), "{said}");
        assert!(!server_runs(dir.path()));
    }
}

#[test]
fn when_a_later_step_fails_everything_is_stopped() {
    let dir = folder();
    // Bad only for the users service, which starts after PostgreSQL.
    let mut stack = start(dir.path(), &[("DATABASE_POOL_SIZE", "none")]);
    assert_eq!(stack.ended().code(), Some(2));
    stack.wait_for("DATABASE_POOL_SIZE");
    assert!(!server_runs(dir.path()));

    let settings = [(
        "DATABASE_URL",
        "postgres://127.0.0.1:1/x?user=u&password=hunter2",
    )];
    let mut stack = start(dir.path(), &settings);
    stack.wait_for("cannot connect to PostgreSQL");
    stack.signal(Signal::SIGTERM);
    assert_eq!(stack.ended().code(), Some(0), "{}", stack.output());
    assert!(!stack.output().contains("hunter2"));
}

#[test]
fn two_at_once_do_not_share_a_data_directory() {
    let dir = folder();
    let mut first = start(dir.path(), &[]);
    http(&mut first);
    let mut second = start(dir.path(), &[]);
    assert_eq!(second.ended().code(), Some(1));
    second.wait_for("DATA_DIR");
}

#[test]
fn a_given_database_is_used_instead_of_a_private_server() {
    let server = postgres_server::Server::temporary().unwrap();
    let url = server.fresh_database().unwrap();
    let dir = folder();
    let mut stack = start(dir.path(), &[("DATABASE_URL", &url)]);
    assert_eq!(
        http(&mut stack)
            .create("jane@example.com", "Jane Doe")
            .status,
        201
    );
    assert!(!dir.path().join(".data").exists());
    let mut sql = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let rows: i64 = sql
        .query_one("SELECT count(*) FROM users", &[])
        .unwrap()
        .get(0);
    assert_eq!(rows, 1);
}

#[test]
fn the_curl_line_of_the_readme_works_as_it_stands() {
    let readme = fs::read_to_string(e2e::root().join("README.md")).unwrap();
    let line = readme
        .lines()
        .find(|line| line.starts_with("curl -X POST"))
        .unwrap();
    let dir = folder();
    let mut stack = start(dir.path(), &[]);
    let port = http(&mut stack).base.rsplit(':').next().unwrap().to_owned();
    let line = line.replace(":3000", &format!(":{port}"));
    // It is also what the stack itself tells to try.
    assert_eq!(stack.wait_for("curl -X POST"), line);
    let output = std::process::Command::new("sh")
        .args(["-c", &line])
        .output()
        .unwrap();
    let user: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(user["email"], "jane@example.com");
    assert_eq!(user["name"], "Jane Doe");
    assert_eq!(user["id"].as_str().unwrap().len(), 36);
}

#[test]
fn it_goes_on_and_stops_when_no_one_reads_what_it_prints() {
    let dir = folder();
    let port = free_port();
    let addr = format!("127.0.0.1:{port}");
    let settings = [("HTTP_ADDR", &*addr), ("RPC_ADDR", "127.0.0.1:0")];
    let mut stack = Program::start_unread(&e2e::binary("stack"), dir.path(), &settings);
    stack.close_output();
    Http::new(port).wait_until_ready();
    stack.signal(Signal::SIGTERM);
    assert_eq!(stack.ended().code(), Some(0));
    assert!(!server_runs(dir.path()));
}
