//! The limits that the operating system sets to a process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process open as many files as it may. The usual limit is for programs that use `select(2)`,
/// and lower than the connections of a server.
pub fn raise_open_files_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A limit that cannot be raised shows when it is met.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
