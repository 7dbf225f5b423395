//! `cargo run`: starts everything, keeps the data, says what is wrong, and leaves nothing behind.

mod data;
mod failures;

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use e2e::{Http, Program, binary, database, free_port, root};

/// A directory in which `cargo run` is typed.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The user that PostgreSQL runs as must get into it.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn run(&self, settings: &[(&str, &str)]) -> Program {
        let ports = [("HTTP_ADDR", "127.0.0.1:0"), ("RPC_ADDR", "127.0.0.1:0")];
        let settings = [&ports[..], settings].concat();
        Program::start(&binary("stack"), self.0.path(), &settings)
    }

    /// PostgreSQL's lock file, which is there while a server runs on the data.
    fn lock_file(&self) -> PathBuf {
        self.0.path().join(".data/postgres/postmaster.pid")
    }

    fn has_server(&self) -> bool {
        self.lock_file().exists()
    }

    /// Sends a signal to the first process of the private PostgreSQL.
    fn signal_server(&self, signal: Signal) {
        let lock_file = fs::read_to_string(self.lock_file()).unwrap();
        let pid = lock_file.lines().next().unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

/// The gateway of a system, once it says that it is there.
fn http(stack: &mut Program) -> Http {
    let line = stack.wait_for("HTTP  http://localhost:");
    let port = line.split("localhost:").nth(1).unwrap();
    Http::new(port.parse().unwrap())
}

/// Creates always the same user: 201 for the first time, 409 afterwards.
fn create_jane(stack: &mut Program) -> u16 {
    http(stack).create("jane@example.com", "Jane Doe").status
}

#[test]
fn given_database_is_used_instead_of_a_private_server() {
    let (folder, url) = (Folder::new(), database::fresh_database());
    let mut stack = folder.run(&[("DATABASE_URL", &url)]);
    assert_eq!(create_jane(&mut stack), 201);
    assert!(!folder.0.path().join(".data").exists());
    assert_eq!(database::rows(&url), 1);
}

#[test]
fn curl_line_of_the_readme_creates_a_user_as_it_stands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut lines = readme.lines();
    let line = lines.find(|l| l.starts_with("curl -X POST")).unwrap();
    let (folder, url) = (Folder::new(), database::fresh_database());
    let mut stack = folder.run(&[("DATABASE_URL", &url)]);
    let port = http(&mut stack).port();
    let line = line.replace(":3000", &format!(":{port}"));
    // It is also what the stack itself tells to try.
    assert_eq!(stack.wait_for("curl -X POST"), line);

    let output = Command::new("sh").args(["-c", &line]).output().unwrap();

    let user: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(user["email"], "jane@example.com");
    assert_eq!(user["name"], "Jane Doe");
    assert_eq!(user["id"].as_str().unwrap().len(), 36);
}

#[test]
fn nobody_reading_what_it_prints_is_no_reason_to_stop() {
    let (folder, port) = (Folder::new(), free_port());
    let addr = format!("127.0.0.1:{port}");
    let settings = [("HTTP_ADDR", &*addr), ("RPC_ADDR", "127.0.0.1:0")];
    let mut stack = Program::start_unread(&binary("stack"), folder.0.path(), &settings);
    stack.close_output();
    Http::new(port).wait_until_ready();
    stack.stop();
    assert!(!folder.has_server());
}
