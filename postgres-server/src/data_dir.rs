//! The directory of a server's data: created whole or not at all, and used by one process at a time.

use std::fs;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use uuid::Uuid;

use crate::binaries::Binaries;
use crate::run_as::{command, server_user};

/// A temporary directory that the user whom the server runs as can write to.
pub fn temporary() -> anyhow::Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("users-postgres-")
        .tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    if let Some(owner) = server_user()? {
        chown(dir.path(), Some(owner.uid.as_raw()), None)?;
    }
    Ok(dir)
}

/// Takes the data directory for this process.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let file = File::create(dir.join("lock")).with_context(|| {
        format!(
            "cannot write to {}: let this user write there, or set DATA_DIR to another directory",
            dir.display()
        )
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "{} is in use by another `cargo run`: stop that one, or set DATA_DIR to another directory",
            dir.display()
        ),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Writes a file that only the server's user may read.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let _ = fs::remove_file(path);
    let mut private = File::options();
    private.write(true).create_new(true).mode(0o600);
    private.open(path)?.write_all(text.as_bytes())?;
    give_to_server(path)
}

fn give_to_server(path: &Path) -> anyhow::Result<()> {
    if let Some(owner) = server_user()? {
        chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}

/// Creates the data directory `data`, whole or not at all.
pub fn create(dir: &Path, data: &Path, binaries: &Binaries) -> anyhow::Result<()> {
    let unfinished = dir.join("postgres.new");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir(&unfinished)?,
    }

    let password_file = dir.join("password");
    write_private(&password_file, &Uuid::new_v4().simple().to_string())?;
    give_to_server(&unfinished)?;

    let output = command(&binaries.initdb)?
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ])
        .arg("--pwfile")
        .arg(&password_file)
        .arg("-D")
        .arg(&unfinished)
        .output()
        .context("initdb cannot be started")?;
    ensure!(
        output.status.success(),
        "initdb failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    fs::rename(&unfinished, data)?;
    Ok(())
}
