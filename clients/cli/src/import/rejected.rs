//! The file of rejected rows: the rows as they stand in the imported file, each with what is wrong with it. Once
//! it has been mended, it can be imported itself.

use std::io::{BufRead as _, BufReader, Read as _};
use std::{fs::File, path::Path};

use anyhow::{Context as _, ensure};
use same_file::Handle;

use super::header::{Header, NOTES};
use super::rows::Fields;
use super::settle::SettledRow;

/// Longest first line of a file of rejected rows.
const MAX_FIRST_LINE: u64 = 4096;

/// The file of rejected rows.
pub struct RejectedRows {
    file: csv::Writer<File>,
    header: Header,
}

impl RejectedRows {
    /// Creates the file, with the columns of the imported one and its [`NOTES`]. It may replace that of an
    /// import before, and nothing else: a wrong name, such as that of the input, costs no file.
    pub fn create(path: &Path, input: &Handle, header: Header) -> anyhow::Result<Self> {
        let name = path.display();
        // Not of a pipe or a device, which have nothing to lose.
        if path.is_file() {
            let existing = Handle::from_path(path);
            let existing = existing.with_context(|| format!("cannot read {name}"))?;
            ensure!(
                existing != *input,
                "{name} is the file to import; give --rejected another name"
            );
            ensure!(
                holds_rejected_rows(existing.as_file())?,
                "{name} exists and holds no rejected rows; give --rejected another name"
            );
        }
        let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
        let mut writer = csv::WriterBuilder::new();
        let mut file = writer.delimiter(header.separator).from_writer(file);
        file.write_record(header.names().chain(NOTES))?;
        file.flush()?;
        Ok(Self { file, header })
    }

    /// Writes a row. It is in the file at once, whatever becomes of this process.
    pub fn add(&mut self, row: &SettledRow) -> anyhow::Result<()> {
        let (line, outcome, reason) = (row.line.to_string(), row.kind(), row.reason());
        let notes = [line.as_bytes(), outcome.as_bytes(), reason.as_bytes()];
        match &row.fields {
            Fields::Known(fields) => {
                let fields = self.header.without_notes(fields);
                self.file.write_record(fields.chain(notes))?;
            }
            // All of it in the first column: no guess is stored when the file is imported as it is.
            Fields::Unknown(text) => {
                let text = text.strip_suffix(b"\n").unwrap_or(text);
                let others = self.header.names().skip(1).map(|_| &b""[..]);
                let fields = [text].into_iter().chain(others);
                self.file.write_record(fields.chain(notes))?;
            }
        }
        self.file.flush()?;
        Ok(())
    }
}

/// Whether a file is empty, or begins as a file of rejected rows does.
fn holds_rejected_rows(file: &File) -> anyhow::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_FIRST_LINE)).read_until(b'\n', &mut line)?;
    let header = Header::read(&line);
    Ok(line.is_empty() || header.is_ok_and(|header| header.has_notes()))
}
