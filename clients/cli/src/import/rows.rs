//! Reads the rows of a CSV file: what each record says of a user.

use std::{io, io::Read, thread};

use anyhow::{Context as _, anyhow};
use csv::{ErrorKind, ReaderBuilder, StringRecord};
use tokio::sync::mpsc;
use users_client::NewUser;

use super::records::Records;
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
pub fn read(input: impl Read + Send + 'static) -> anyhow::Result<mpsc::Receiver<io::Result<Row>>> {
    let mut records = Records::new(input);
    let first = records.next().context("cannot read the first line")?;
    let first = first.map_or(Ok(Vec::new()), |record| record.text);
    let mut columns = first.and_then(|text| parse(&text));
    columns.iter_mut().for_each(StringRecord::trim);
    let columns = columns.map_err(|fault| anyhow!("the first line {fault}"))?;
    check_columns(&columns)?;

    let (send, rows) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        while let Some(record) = records.next().transpose() {
            let is_last = record.is_err();
            let row = record.map(|record| Row {
                line: record.line,
                user: record.text.and_then(|text| read_user(&text, &columns)),
            });
            // Nobody waits for rows when the import has stopped.
            if send.blocking_send(row).is_err() || is_last {
                return;
            }
        }
    });
    Ok(rows)
}

/// The user that a record describes, or what is wrong with its text.
fn read_user(text: &[u8], columns: &StringRecord) -> Result<NewUser, String> {
    let record = parse(text)?;
    let (len, expected) = (record.len(), columns.len());
    if len != expected {
        return Err(format!("has {len} columns instead of {expected}"));
    }
    let fields: Result<UserFields, _> = record.deserialize(Some(columns));
    fields
        .map(UserFields::with_row_id)
        .map_err(|error| malformed(&error))
}

fn parse(text: &[u8]) -> Result<StringRecord, String> {
    let reader = ReaderBuilder::new().has_headers(false).from_reader(text);
    let record = reader.into_records().next();
    record
        .unwrap_or_else(|| Ok(StringRecord::new()))
        .map_err(|error| malformed(&error))
}

fn malformed(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => "is not UTF-8".into(),
    }
}
