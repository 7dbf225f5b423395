//! Reads the rows of a CSV file: what each record says of a user.

use std::io::{self, Read};
use std::thread;

use anyhow::Context as _;
use csv::{ByteRecord, ErrorKind, StringRecord};
use tokio::sync::mpsc;
use users_client::{MAX_USERS, NewUser};

use super::header::{Header, parse};
use super::records::{Record, Records};
use crate::user::UserFields;

/// Chunks that are read ahead of the calls.
const READ_AHEAD: usize = 4;

/// A row of the file.
pub struct Row {
    /// Where it begins, counted from 1.
    pub line: u64,
    pub fields: Fields,
    /// The user that it describes, or why it describes none.
    pub user: Result<NewUser, String>,
}

/// What a row says, as it stands in the file.
pub enum Fields {
    /// One for each column.
    Known(ByteRecord),
    /// Nobody can say which part of the text belongs to which column.
    Unknown(Vec<u8>),
}

/// Chunks of rows as they are read. An I/O error is the last of them.
pub type Rows = mpsc::Receiver<io::Result<Vec<Row>>>;

/// Reads the rows on a thread of its own, as reading blocks.
///
/// Fails when the first line does not name the columns.
pub fn read(input: impl Read + Send + 'static) -> anyhow::Result<(Header, Rows)> {
    let mut records = Records::new(input);
    let first = records.next_text().context("cannot read the first line")?;
    let header = Header::read(&first)?;
    records.separator = header.separator;

    let (send, rows) = mpsc::channel(READ_AHEAD);
    let columns = header.columns.clone();
    let mut parser = header.parser();
    thread::spawn(move || {
        let mut read_row = |record| read_row(&mut parser, record, &columns);
        // Nobody waits for rows when the import has stopped.
        while send_chunk(&mut records, &mut read_row, &send).is_some() {}
    });
    Ok((header, rows))
}

/// Reads and sends a chunk: as many rows as one call takes, or fewer where the next one has to be waited for. Returns
/// `None` when it is the last one that is wanted.
fn send_chunk(
    records: &mut Records<impl Read>,
    mut read_row: impl FnMut(Record) -> Row,
    chunks: &mpsc::Sender<io::Result<Vec<Row>>>,
) -> Option<()> {
    let mut chunk = Vec::with_capacity(MAX_USERS);
    let end = loop {
        match records.next() {
            Ok(Some(record)) => chunk.push(read_row(record)),
            end => break Some(end),
        }
        if chunk.len() == MAX_USERS || !records.has_next_line() {
            break None;
        }
    };
    if !chunk.is_empty() {
        chunks.blocking_send(Ok(chunk)).ok()?;
    }
    match end {
        None => Some(()),
        Some(Ok(_)) => None,
        Some(Err(error)) => chunks.blocking_send(Err(error)).ok().and(None),
    }
}

fn read_row(parser: &mut csv_core::Reader, record: Record, columns: &StringRecord) -> Row {
    let line = record.line;
    let malformed = |fields, why| Row {
        line,
        fields,
        user: Err(why),
    };
    if let Some(fault) = record.fault {
        return malformed(Fields::Unknown(record.text), fault);
    }
    let fields = parse(parser, &record.text);
    let (len, expected) = (fields.len(), columns.len());
    if len != expected {
        let why = format!("has {len} columns instead of {expected}");
        return malformed(Fields::Unknown(record.text), why);
    }
    match StringRecord::from_byte_record(fields) {
        Ok(fields) => Row {
            line,
            user: read_user(&fields, columns),
            fields: Fields::Known(fields.into_byte_record()),
        },
        Err(error) => {
            let fields = Fields::Known(error.into_byte_record());
            malformed(fields, "is not UTF-8".into())
        }
    }
}

/// The user that a record describes, or what is wrong with its text.
fn read_user(record: &StringRecord, columns: &StringRecord) -> Result<NewUser, String> {
    match record.deserialize(Some(columns)) {
        Ok(fields) => Ok(UserFields::with_row_id(fields)),
        Err(error) => Err(match error.kind() {
            ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
            _ => error.to_string(),
        }),
    }
}
