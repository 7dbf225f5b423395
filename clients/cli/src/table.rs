//! Rows as a table for people, or as CSV for spreadsheets. Both can come in parts.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// Blanks between two columns.
const GAP: usize = 2;

/// Lays out one table, part by part.
pub struct Table {
    /// Widths of the columns so far. A later part widens them where it must, as nobody can wait for all of it.
    widths: Vec<usize>,
}

impl Table {
    pub fn new() -> Self {
        Self { widths: Vec::new() }
    }

    /// The next rows, a line each. The last column has no blanks behind it.
    pub fn render(&mut self, rows: &[Vec<&str>]) -> String {
        for row in rows {
            self.widths.resize(row.len().max(self.widths.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }

        let mut text = String::new();
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                let is_last = column + 1 == row.len();
                let blanks = self.widths[column] + GAP - cell.width();
                let _ = write!(text, "{:1$}", "", if is_last { 0 } else { blanks });
            }
            text.push('\n');
        }
        text
    }
}

/// Rows as CSV (RFC 4180, with line feeds).
pub fn csv(rows: &[Vec<&str>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        // Writing to memory does not fail, and all rows have the same columns.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_of_a_table_line_up_with_the_first() {
        let mut table = Table::new();
        let first = table.render(&[vec!["ID", "NAME"], vec!["1234", "Ann"]]);
        let next = table.render(&[vec!["5", "Bob"]]);
        assert_eq!(first + &next, "ID    NAME\n1234  Ann\n5     Bob\n");
    }

    #[test]
    fn columns_line_up_by_what_is_seen_of_them() {
        let rows = [vec!["日本", "x"], vec!["abcd", "y"], vec!["e\u{301}", "z"]];
        let table = Table::new().render(&rows);
        assert_eq!(table, "日本  x\nabcd  y\ne\u{301}     z\n");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let rows = [vec!["id", "name"], vec!["1", "Doe, \"Jane\""]];
        assert_eq!(csv(&rows), "id,name\n1,\"Doe, \"\"Jane\"\"\"\n");
    }
}
