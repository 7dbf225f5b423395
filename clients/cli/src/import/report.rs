//! Tells what became of the rows: progress meanwhile, counts at the end, and each row that was refused.

use std::io::{Read as _, Write as _};
use std::{collections::BTreeMap, fs::File, path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use serde_json::json;

use super::settle::SettledRow;
use crate::outcome::UNKNOWN_STATUS;
use crate::output::{Format, print_line};
use crate::user::{REJECTED_COLUMNS, rejected_columns};

/// Refused rows that are shown when there is no file for them.
const SHOWN: usize = 10;

/// What became of the rows.
pub struct Report {
    /// Why the import ended before its rows did.
    stopped: Option<Stop>,
    bar: ProgressBar,
    begin: Instant,
    rows: u64,
    counts: BTreeMap<&'static str, u64>,
    /// Rows that were not stored.
    refused: usize,
    /// The file to write those rows to.
    rejected: Option<csv::Writer<File>>,
}

/// The reason for ending early, and the exit status that stands for it.
pub struct Stop {
    pub why: String,
    pub status: u8,
}

impl Report {
    /// Starts with no rows. Creates the file for rejected ones, with its first line.
    pub fn new(rejected: Option<&Path>, bar: ProgressBar) -> anyhow::Result<Self> {
        Ok(Self {
            stopped: None,
            bar,
            begin: Instant::now(),
            rows: 0,
            counts: BTreeMap::new(),
            refused: 0,
            rejected: rejected.map(create_rejected).transpose()?,
        })
    }

    /// Counts a row, and writes or shows it when it was refused.
    pub fn add(&mut self, row: &SettledRow) -> anyhow::Result<()> {
        self.rows += 1;
        *self.counts.entry(row.kind()).or_default() += 1;
        if !row.is_stored() {
            self.add_refused(row)?;
        }
        if self.rows.is_multiple_of(256) {
            let message = format!("{} rows, {}/s", self.rows, self.rate());
            self.bar.set_message(message);
        }
        Ok(())
    }

    /// Notes why the import stops: the first reason, or else that a row may have been written.
    pub fn stop(&mut self, stop: Stop) {
        match &self.stopped {
            None => self.stopped = Some(stop),
            Some(first) if stop.status == UNKNOWN_STATUS && first.status != UNKNOWN_STATUS => {
                self.stopped = Some(stop);
            }
            Some(_) => {}
        }
    }

    fn add_refused(&mut self, row: &SettledRow) -> csv::Result<()> {
        let (line, kind, reason) = (row.line.to_string(), row.kind(), row.reason());
        self.refused += 1;
        if let Some(file) = &mut self.rejected {
            let columns = rejected_columns(row.user.as_ref());
            file.write_record(rejected_record(&line, columns, kind, &reason))?;
        } else if self.refused <= SHOWN {
            self.bar
                .suspend(|| eprintln!("line {line}: {kind}: {reason}"));
        } else if self.refused == SHOWN + 1 {
            self.bar
                .suspend(|| eprintln!("… further ones go into the file of --rejected"));
        }
        Ok(())
    }

    /// Prints the counts, and why the import stopped if it did. Returns the exit status.
    pub fn finish(mut self, format: Format) -> anyhow::Result<u8> {
        self.bar.finish_and_clear();
        if let Some(file) = &mut self.rejected {
            file.flush()?;
        }
        self.print(format)?;
        if let Some(Stop { why, status }) = self.stopped {
            eprintln!("users-cli: stopped: {why}");
            eprintln!("users-cli: import the same file again to go on");
            return Ok(status);
        }
        Ok(if self.refused > 0 { 3 } else { 0 })
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        let (rows, seconds) = (self.rows, self.begin.elapsed().as_secs_f64());
        match format {
            Format::Json => {
                let report = json!({ "rows": rows, "seconds": seconds, "outcomes": self.counts });
                print_line(&report.to_string())?;
            }
            Format::Table => {
                for (outcome, count) in &self.counts {
                    print_line(&format!("{outcome:14} {count:>12}"))?;
                }
                let rate = self.rate();
                print_line(&format!("{rows} rows in {seconds:.1} s, {rate}/s"))?;
            }
        }
        Ok(())
    }

    /// Rows per second so far.
    fn rate(&self) -> u128 {
        u128::from(self.rows) * 1000 / self.begin.elapsed().as_millis().max(1)
    }
}

/// Creates the file for rejected rows. It may replace that of an import before, and nothing else: a wrong
/// name, such as that of the input, costs no file.
fn create_rejected(path: &Path) -> anyhow::Result<csv::Writer<File>> {
    let name = path.display();
    let mut header = csv::Writer::from_writer(Vec::new());
    header.write_record(rejected_record(
        "line",
        REJECTED_COLUMNS,
        "outcome",
        "reason",
    ))?;
    let header = header.into_inner()?;

    // Not of a pipe or a device, which have nothing to lose.
    if path.is_file() {
        let mut begin = Vec::new();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        file.take(header.len() as u64).read_to_end(&mut begin)?;
        ensure!(
            begin.is_empty() || begin == header,
            "{name} exists and holds no rejected rows; give --rejected another name"
        );
    }
    let mut file = File::create(path).with_context(|| format!("cannot write {name}"))?;
    file.write_all(&header)?;
    Ok(csv::Writer::from_writer(file))
}

/// A line of the file of rejected rows.
fn rejected_record<'a>(
    line: &'a str,
    columns: [&'a str; REJECTED_COLUMNS.len()],
    outcome: &'a str,
    reason: &'a str,
) -> impl Iterator<Item = &'a str> {
    let before = [line].into_iter();
    before.chain(columns).chain([outcome, reason])
}
