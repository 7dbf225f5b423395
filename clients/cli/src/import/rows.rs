//! Reads the rows of a CSV file.

use std::{io::Read, thread};

use anyhow::Context as _;
use csv::{ErrorKind, ReaderBuilder, Trim};
use tokio::sync::mpsc;
use users_client::NewUser;

use crate::user::{UserFields, check_columns};

/// Rows that are read ahead of the calls.
const READ_AHEAD: usize = 1024;

/// A row of the file.
pub struct Row {
    /// Where it begins, counted from 1.
    pub line: u64,
    /// The user that it describes, or why it describes none.
    pub user: Result<NewUser, String>,
}

/// Reads the rows on a thread of its own, as reading blocks. An I/O error is the last thing it sends.
///
/// Fails when the first line does not name the columns.
pub fn read(input: impl Read + Send + 'static) -> anyhow::Result<mpsc::Receiver<csv::Result<Row>>> {
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(input);
    check_columns(reader.headers().context("cannot read the first line")?)?;

    let (send, rows) = mpsc::channel(READ_AHEAD);
    let mut records = reader.into_deserialize::<UserFields>();
    thread::spawn(move || {
        loop {
            let line = records.reader().position().line();
            let row = match records.next() {
                None => return,
                Some(Ok(fields)) => Ok(fields.with_row_id()),
                // Nothing follows, whether or not anyone still waits for it.
                Some(Err(error)) if error.is_io_error() => {
                    return drop(send.blocking_send(Err(error)));
                }
                Some(Err(error)) => Err(malformed(&error)),
            };
            // Nobody waits for rows when the import has stopped.
            if send.blocking_send(Ok(Row { line, user: row })).is_err() {
                return;
            }
        }
    });
    Ok(rows)
}

/// What is wrong with the text of a row.
fn malformed(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("has {len} columns instead of {expected_len}"),
        ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => "is not UTF-8".into(),
    }
}
