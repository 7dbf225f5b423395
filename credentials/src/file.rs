//! A file that a setting names, and errors that name both.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{anyhow, bail};

/// Largest file that is read: about ten thousand API keys, or five hundred certificates.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file, and the environment variable that names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialFile {
    variable: &'static str,
    path: PathBuf,
}

/// What a [`CredentialFile`] held when it was read.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// Where it comes from.
    pub file: CredentialFile,
    /// All of it. It may be secret: no error shows it.
    pub bytes: Vec<u8>,
}

impl CredentialFile {
    /// The file at `path`, which the environment variable `variable` names.
    pub fn new(variable: &'static str, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { variable, path }
    }

    /// The environment variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// Reads the file. The error names it and its variable.
    pub fn read(&self) -> anyhow::Result<Content> {
        // To open a pipe could take for ever.
        let metadata = fs::metadata(&self.path).map_err(|error| self.error(error))?;
        if !metadata.is_file() {
            return Err(self.error("is not a regular file"));
        }

        let mut bytes = Vec::new();
        let file = File::open(&self.path).map_err(|error| self.error(error))?;
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.error(error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.error(format_args!("must have at most {MAX_BYTES} bytes")));
        }
        Ok(Content {
            file: self.clone(),
            bytes,
        })
    }

    /// An error about this file. `what` must not show what is in it.
    pub fn error(&self, what: impl Display) -> anyhow::Error {
        anyhow!("{}={}: {what}", self.variable, self.path.display())
    }
}

/// The files that these variables name. They belong together: the error says which one is missing.
pub fn all_or_none<const N: usize>(
    named: [(&'static str, Option<&PathBuf>); N],
) -> anyhow::Result<Option<[CredentialFile; N]>> {
    let Some((missing, _)) = named.iter().find(|(_, path)| path.is_none()) else {
        let file = |(variable, path): (_, Option<&PathBuf>)| {
            CredentialFile::new(variable, path.cloned().unwrap_or_default())
        };
        return Ok(Some(named.map(file)));
    };
    if let Some((set, _)) = named.iter().find(|(_, path)| path.is_some()) {
        let variables = named.map(|(variable, _)| variable).join(", ");
        bail!("{missing} must be set too, because {set} is: {variables} belong together");
    }
    Ok(None)
}
