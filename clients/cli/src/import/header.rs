//! The first line of an imported file: what its columns are called, and what separates them.

use std::iter;

use anyhow::{anyhow, bail, ensure};
use csv::{ByteRecord, StringRecord};

use crate::user::{COLUMNS, REQUIRED_COLUMNS};

/// What may separate the columns: spreadsheets write semicolons where the comma is the decimal point.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// Columns in which the file of rejected rows says what became of a row. They are read over, so that it can be
/// imported once it has been mended.
pub const NOTES: [&str; 3] = ["line", "outcome", "reason"];

/// What the columns of a file are.
#[derive(Clone, Debug)]
pub struct Header {
    pub separator: u8,
    /// The names as the file has them.
    names: StringRecord,
    /// The same in lower case, and without blanks around them.
    pub columns: StringRecord,
}

impl Header {
    /// Reads the first line. The error says which columns there must be.
    pub fn read(line: &[u8]) -> anyhow::Result<Self> {
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = line {
            bail!("the file is in UTF-16; save it as UTF-8");
        }
        let candidates = SEPARATORS.map(|separator| Self::separated_by(separator, line));
        let [by_comma, ..] = &candidates;
        let best = candidates.iter().flatten().find(|header| header.is_whole());
        let Some(header) = best else {
            let found = by_comma.as_ref().map_err(|fault| anyhow!("{fault}"))?;
            let found: Vec<_> = found.names.iter().map(|name| format!("{name:?}")).collect();
            bail!(
                "the first line must name the columns email and name, and id if there are ids, with commas, \
                 semicolons or tabs between them; it has {}",
                found.join(", ")
            );
        };

        for (index, column) in header.columns.iter().enumerate() {
            ensure!(
                COLUMNS.contains(&column) || NOTES.contains(&column),
                "the first line names the column {column:?}, which no user has; the columns are {}",
                COLUMNS.join(", ")
            );
            let mut before = header.columns.iter().take(index);
            ensure!(
                before.all(|other| other != column),
                "the first line names the column {column:?} twice"
            );
        }
        Ok(header.clone())
    }

    fn separated_by(separator: u8, line: &[u8]) -> Result<Self, &'static str> {
        let names = parse(&mut parser(separator), line);
        let names = StringRecord::from_byte_record(names);
        let mut names = names.map_err(|_| "the first line is not UTF-8")?;
        names.trim();
        let columns = names.iter().map(str::to_lowercase).collect();
        Ok(Self {
            separator,
            names,
            columns,
        })
    }

    /// Whether it has the columns of a user.
    fn is_whole(&self) -> bool {
        let has = |column: &str| self.columns.iter().any(|name| name == column);
        REQUIRED_COLUMNS.iter().all(|column| has(column))
    }

    /// Whether it is of a file of rejected rows.
    pub fn has_notes(&self) -> bool {
        NOTES
            .iter()
            .all(|note| self.columns.iter().any(|column| column == *note))
    }

    /// Reads the fields of a record.
    pub fn parser(&self) -> csv_core::Reader {
        parser(self.separator)
    }

    /// The names of the columns without the [`NOTES`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.without_notes(&self.names)
    }

    /// The fields of a record without those of the [`NOTES`].
    pub fn without_notes<'a, T: ?Sized + 'a>(
        &'a self,
        fields: impl IntoIterator<Item = &'a T> + 'a,
    ) -> impl Iterator<Item = &'a T> {
        let fields = fields.into_iter().zip(&self.columns);
        fields.filter_map(|(field, column)| (!NOTES.contains(&column)).then_some(field))
    }
}

fn parser(separator: u8) -> csv_core::Reader {
    csv_core::ReaderBuilder::new().delimiter(separator).build()
}

/// The fields of one record, without a byte order mark before them. The parser is used again, as making one takes
/// longer than reading a record.
pub fn parse(parser: &mut csv_core::Reader, text: &[u8]) -> ByteRecord {
    parser.reset();
    // No field is longer than its text, and there is at most one field more than there are bytes.
    let (mut fields, mut ends) = (vec![0; text.len()], vec![0; text.len() + 1]);
    let (_, _, _, count) = parser.read_record(text, &mut fields, &mut ends);

    let begins = iter::once(&0).chain(&ends);
    let fields = begins
        .zip(&ends[..count])
        .map(|(&begin, &end)| &fields[begin..end]);
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_any_separator_and_letter_case() {
        for (line, separator) in [
            ("email,name,id\n", b','),
            ("Name;E-mail;EMAIL\n", b';'),
            ("\"Email\"\t\"NAME\"\n", b'\t'),
            (" EMAIL , Name \n", b','),
        ] {
            let candidates =
                SEPARATORS.map(|separator| Header::separated_by(separator, line.as_bytes()));
            let whole = candidates.iter().flatten().find(|header| header.is_whole());
            assert_eq!(whole.unwrap().separator, separator, "{line}");
        }
    }

    #[test]
    fn first_line_that_names_other_columns_is_told_what_is_right() {
        for (line, told) in [
            (&b"mail,name\n"[..], r#"it has "mail", "name""#),
            (
                b"email|name\n",
                r#"with commas, semicolons or tabs between them; it has "email|name""#,
            ),
            (
                b"jane@example.com,Jane\n",
                "must name the columns email and name",
            ),
            (b"", "must name the columns email and name"),
            (
                b"email,name,phone\n",
                r#"the column "phone", which no user has; the columns are id, email, name"#,
            ),
            (b"email;Name;name\n", r#"the column "name" twice"#),
            (b"email,name\xff\n", "is not UTF-8"),
            (b"\xff\xfee\0m\0a\0", "UTF-16"),
        ] {
            let error = Header::read(line).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn notes_are_left_out_of_the_names_and_of_the_fields() {
        let header = Header::read(b"line,Email,reason,name,outcome\n").unwrap();
        assert_eq!(header.names().collect::<Vec<_>>(), ["Email", "name"]);
        let fields = StringRecord::from(vec!["7", "a@b.io", "why", "A", "invalid"]);
        let fields: Vec<_> = header.without_notes(&fields).collect();
        assert_eq!(fields, ["a@b.io", "A"]);
    }
}
