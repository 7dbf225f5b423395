//! Reads the rows of a CSV file: what each record says of a user.

use std::io::{self, Read};
use std::{iter, thread};

use anyhow::{Context as _, anyhow};
use csv::{ByteRecord, ErrorKind, StringRecord};
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
    let mut parser = csv_core::Reader::new();
    let mut columns = first.and_then(|text| parse(&mut parser, &text));
    columns.iter_mut().for_each(StringRecord::trim);
    let columns = columns.map_err(|fault| anyhow!("the first line {fault}"))?;
    check_columns(&columns)?;

    let (send, rows) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        while let Some(record) = records.next().transpose() {
            let is_last = record.is_err();
            let row = record.map(|record| Row {
                line: record.line,
                user: record
                    .text
                    .and_then(|text| read_user(&mut parser, &text, &columns)),
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
fn read_user(
    parser: &mut csv_core::Reader,
    text: &[u8],
    columns: &StringRecord,
) -> Result<NewUser, String> {
    let record = parse(parser, text)?;
    let (len, expected) = (record.len(), columns.len());
    if len != expected {
        return Err(format!("has {len} columns instead of {expected}"));
    }
    match record.deserialize(Some(columns)) {
        Ok(fields) => Ok(UserFields::with_row_id(fields)),
        Err(error) => Err(match error.kind() {
            ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
            _ => error.to_string(),
        }),
    }
}

/// The fields of one record. The parser is used again, as making one takes longer than reading a record.
fn parse(parser: &mut csv_core::Reader, text: &[u8]) -> Result<StringRecord, String> {
    parser.reset();
    // No field is longer than its text, and there is at most one field more than there are bytes.
    let (mut fields, mut ends) = (vec![0; text.len()], vec![0; text.len() + 1]);
    let (_, _, _, count) = parser.read_record(text, &mut fields, &mut ends);

    let begins = iter::once(&0).chain(&ends);
    let fields = begins
        .zip(&ends[..count])
        .map(|(&begin, &end)| &fields[begin..end]);
    let record: ByteRecord = fields.collect();
    StringRecord::from_byte_record(record).map_err(|_| "is not UTF-8".into())
}
