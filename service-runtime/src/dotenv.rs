//! The file `.env`, of which no error shows anything: it has passwords.

use std::{fs, io::ErrorKind};

use anyhow::{Context as _, anyhow};

/// Loads `.env` of the working directory, when there is one, into the environment. What is set
/// already stays.
pub fn load() -> anyhow::Result<()> {
    let text = match fs::read_to_string(".env") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.context("the file .env cannot be read")?,
    };
    dotenvy::from_read(text.as_bytes()).map_err(|error| match error {
        // The error shows the line, which may have a password.
        dotenvy::Error::LineParse(shown, _) => anyhow!(
            "line {} of the file .env cannot be read: it must be NAME=value, with single quotes around \
             a value that has blanks, quotes, #, $ or \\",
            line_number(&text, &shown)
        ),
        _ => anyhow!("the file .env cannot be read"),
    })
}

/// The variables that `.env` of the working directory sets.
pub fn names() -> Vec<String> {
    let lines = dotenvy::from_path_iter(".env").into_iter().flatten();
    lines.filter_map(|line| Some(line.ok()?.0)).collect()
}

/// The number of the line that an error is about which shows `shown` of it: dotenvy does not tell.
fn line_number(text: &str, shown: &str) -> usize {
    let text = text.trim_start_matches('\u{feff}');
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let is_last = |n: &usize| {
        let text = lines[..*n].concat();
        let error = dotenvy::from_read_iter(text.as_bytes()).find_map(Result::err);
        matches!(error, Some(dotenvy::Error::LineParse(line, _)) if line == shown)
    };
    let last = (1..lines.len()).find(is_last).unwrap_or(lines.len());
    // A value in quotes may have several lines, and a quote that is not closed has all that follow.
    last - shown.lines().count().saturating_sub(1)
}
