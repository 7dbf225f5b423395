//! The data of the private PostgreSQL outlive whatever ends the system, and its server outlives nothing.

use nix::sys::signal::Signal;

use e2e::eventually;

use super::{Folder, create_jane};

#[test]
fn second_start_finds_the_users_of_the_first() {
    let folder = Folder::new();
    for (stop, status) in [
        (Signal::SIGTERM, 201),
        (Signal::SIGINT, 409),
        (Signal::SIGTERM, 409),
    ] {
        let mut stack = folder.run(&[]);
        assert_eq!(create_jane(&mut stack), status);
        stack.signal(stop);
        assert_eq!(stack.ended().code(), Some(0), "{}", stack.output());
        assert!(!folder.has_server());
    }
}

#[test]
fn start_after_a_kill_finds_the_users_and_no_server() {
    let folder = Folder::new();
    let mut stack = folder.run(&[]);
    assert_eq!(create_jane(&mut stack), 201);
    stack.kill();
    // At once, while the old server may still be stopping.
    let mut stack = folder.run(&[]);
    assert_eq!(create_jane(&mut stack), 409);
}

#[test]
fn killed_system_leaves_no_server_behind() {
    let folder = Folder::new();
    let mut stack = folder.run(&[]);
    stack.wait_for("its data in");
    stack.kill();
    eventually("PostgreSQL is gone", || !folder.has_server());
}

#[test]
fn data_recover_after_every_process_is_killed() {
    let folder = Folder::new();
    let mut stack = folder.run(&[]);
    assert_eq!(create_jane(&mut stack), 201);
    // The server first, so that it cannot tidy up; its lock file stays.
    stack.signal(Signal::SIGSTOP);
    folder.signal_server(Signal::SIGKILL);
    stack.kill();
    assert!(folder.has_server());

    let mut stack = folder.run(&[]);
    assert_eq!(create_jane(&mut stack), 409);
}
