//! What stands in the way of `cargo run` is named, and everything that had been started is stopped.

use std::net::TcpListener;
use std::process::Command;

use e2e::{Program, binary};
use nix::sys::signal::Signal;

use super::{Folder, http};

/// Starts a system with a port that something else listens on, and checks what it says.
fn assert_names_a_taken_port(setting: &str) {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let mut stack = folder.run(&[(setting, &addr.to_string())]);
    assert_eq!(stack.ended().code(), Some(1));
    let said = stack.wait_for("is taken");
    assert!(said.contains(&addr.port().to_string()), "{said}");
    assert!(said.contains(&format!("{setting}=")), "{said}");
    assert!(!folder.has_server());
}

#[test]
fn taken_http_port_is_named_with_the_setting_that_changes_it() {
    assert_names_a_taken_port("HTTP_ADDR");
}

#[test]
fn taken_rpc_port_is_named_with_the_setting_that_changes_it() {
    assert_names_a_taken_port("RPC_ADDR");
}

#[test]
fn without_a_setting_both_ports_are_for_this_machine_only() {
    for (setting, port, other) in [
        ("HTTP_ADDR", 3000, "RPC_ADDR"),
        ("RPC_ADDR", 4001, "HTTP_ADDR"),
    ] {
        let folder = Folder::new();
        // When this fails, someone else has the port, which does as well.
        let _taken = TcpListener::bind(("127.0.0.1", port));
        let settings = [(other, "127.0.0.1:0")];
        let mut stack = Program::start(&binary("stack"), folder.0.path(), &settings);
        let said = stack.wait_for("is taken");
        let another = format!("{setting}=127.0.0.1:{}", port + 10);
        assert!(said.contains(&another), "{said}");
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_starts() {
    let folder = Folder::new();
    let mut stack = folder.run(&[("RPC_READERS", "reader")]);
    assert_eq!(stack.ended().code(), Some(1));
    stack.wait_for("RPC_READERS needs RPC_TLS_CERT");
    assert!(!folder.0.path().join(".data").exists());
    assert!(!stack.output().contains("PostgreSQL"));
}

#[test]
fn database_url_may_be_an_option() {
    let mut stack = Command::new(binary("stack"));
    let url = "host=127.0.0.1 user=u sslmode=sometimes";
    let stack = stack.current_dir("/").args(["--database-url", url]);
    let said = String::from_utf8(stack.output().unwrap().stderr).unwrap();
    assert!(said.contains("DATABASE_URL"), "{said}");
    assert!(said.contains("sslmode"), "{said}");
}

#[test]
fn bad_setting_of_a_service_stops_the_private_server() {
    let folder = Folder::new();
    // Bad only for the users service, which starts after PostgreSQL.
    let mut stack = folder.run(&[("DATABASE_POOL_SIZE", "none")]);
    assert_eq!(stack.ended().code(), Some(1));
    stack.wait_for("DATABASE_POOL_SIZE=\"none\": must be a number");
    assert!(!folder.has_server());
}

#[test]
fn database_that_cannot_be_reached_is_told_without_its_password() {
    let folder = Folder::new();
    let url = "postgres://127.0.0.1:1/x?user=u&password=hunter2";
    let mut stack = folder.run(&[("DATABASE_URL", url)]);
    stack.wait_for("cannot connect to PostgreSQL");
    stack.stop();
    assert!(!stack.output().contains("hunter2"));
}

#[test]
fn postgres_that_ends_by_itself_ends_the_system() {
    let folder = Folder::new();
    let mut stack = folder.run(&[]);
    http(&mut stack);
    folder.signal_server(Signal::SIGINT);
    assert_eq!(stack.ended().code(), Some(1));
    stack.wait_for("PostgreSQL ended by itself");
}

#[test]
fn data_directory_in_use_is_named_with_the_setting_that_changes_it() {
    let folder = Folder::new();
    let mut first = folder.run(&[]);
    http(&mut first);
    let mut second = folder.run(&[]);
    assert_eq!(second.ended().code(), Some(1));
    second.wait_for("DATA_DIR");
}
