//! Running PostgreSQL's programs: as which user, and with what environment.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;
use nix::unistd::{User, geteuid};

/// A command in a process group of its own, which Ctrl-C in the terminal does not reach, as the user
/// that the server runs as, and without the variables that would make PostgreSQL look elsewhere.
pub fn command(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    if let Some(user) = server_user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

/// Users that may run the server: the one that packages make, and the one that owns nothing.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// The user to run the server as when we are root, as whom it refuses to run.
pub fn server_user() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in SERVER_USERS {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!(
        "PostgreSQL does not run as root, and there is no user {}: run this as another user",
        SERVER_USERS.join(" or ")
    )
}

/// Whether the user that the server runs as can get into `dir`.
pub fn is_reachable(dir: &Path) -> anyhow::Result<bool> {
    let status = command("test".as_ref())?.arg("-x").arg(dir).status()?;
    Ok(status.success())
}
