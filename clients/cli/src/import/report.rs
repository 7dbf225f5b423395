//! The counts at the end of an import, and each row that was refused.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;

use super::progress::Progress;
use super::rejected::RejectedRows;
use super::settle::SettledRow;
use crate::output::{Format, Output};
use crate::{status, stderr, stdout};

/// Refused rows that are shown when there is no file for them.
const SHOWN: usize = 10;

/// What became of the rows.
pub struct Report {
    /// Why the import ended before its rows did.
    stopped: Option<Stop>,
    counts: BTreeMap<&'static str, u64>,
    /// Rows that were not stored.
    refused: usize,
    /// Rows that the import gave up. Of some, nobody knows whether they are stored.
    unsettled: usize,
    /// The file to write the refused rows to.
    rejected: Option<RejectedRows>,
}

/// The reason for ending early, and the exit status that stands for it.
pub struct Stop {
    pub why: String,
    pub status: u8,
}

impl Report {
    pub fn new(rejected: Option<RejectedRows>) -> Self {
        Self {
            stopped: None,
            counts: BTreeMap::new(),
            refused: 0,
            unsettled: 0,
            rejected,
        }
    }

    /// Counts rows, and writes or shows those that were refused. Returns whether the import can go on after them.
    pub fn add(&mut self, rows: &[SettledRow], progress: &Progress) -> bool {
        for row in rows {
            if let Some(stop) = self.add_row(row, progress) {
                self.stop(stop);
            }
        }
        self.stopped.is_none()
    }

    /// Returns why the import cannot go on after the row.
    fn add_row(&mut self, row: &SettledRow, progress: &Progress) -> Option<Stop> {
        if !row.is_settled() {
            self.unsettled += 1;
            let (why, status) = (row.reason(), row.status());
            return Some(Stop { why, status });
        }
        progress.settled();
        *self.counts.entry(row.kind()).or_default() += 1;
        if row.is_stored() {
            return None;
        }
        let error = self.add_refused(row, progress).err()?;
        Some(Stop {
            why: format!("cannot write to the file of --rejected: {error:#}"),
            status: status::FAILED,
        })
    }

    fn add_refused(&mut self, row: &SettledRow, progress: &Progress) -> anyhow::Result<()> {
        self.refused += 1;
        if let Some(file) = &mut self.rejected {
            file.add(row)?;
        } else if self.refused <= SHOWN {
            let (line, kind, reason) = (row.line, row.kind(), row.reason());
            progress.say(&format!("line {line}: {kind}: {reason}"));
        } else if self.refused == SHOWN + 1 {
            progress.say("… further ones go into the file of --rejected");
        }
        Ok(())
    }

    /// Gives up rows that are in flight: each of them may have been written.
    pub fn abandon(&mut self, in_flight: usize) {
        self.unsettled += in_flight;
        self.stop(Stop {
            why: format!("interrupted; rows still in flight: {in_flight}"),
            status: status::UNKNOWN,
        });
    }

    /// Notes why the import stops: the first reason, or else that a row may have been written.
    pub fn stop(&mut self, stop: Stop) {
        match &self.stopped {
            None => self.stopped = Some(stop),
            Some(first) if stop.status == status::UNKNOWN && first.status != status::UNKNOWN => {
                self.stopped = Some(stop);
            }
            Some(_) => {}
        }
    }

    /// The counts, as they are printed.
    fn summary(&self, output: Output, progress: &Progress) -> String {
        let (rows, seconds) = (progress.rows(), progress.elapsed().as_secs_f64());
        match output.format {
            Format::Json => {
                let report = json!({
                    "rows": rows,
                    "seconds": seconds,
                    "outcomes": self.counts,
                    "unsettled": self.unsettled,
                });
                format!("{report}\n")
            }
            Format::Csv => {
                let header = if output.no_headers {
                    ""
                } else {
                    "outcome,rows\n"
                };
                let line = |(outcome, count): (&str, u64)| format!("{outcome},{count}\n");
                let counts: String = self.all_counts().map(line).collect();
                format!("{header}{counts}")
            }
            Format::Table => {
                let line = |(outcome, count)| {
                    let note = match outcome {
                        "replayed" => "  stored before this import",
                        _ => "",
                    };
                    format!("{outcome:14} {count:>12}{note}\n")
                };
                let counts: String = self.all_counts().map(line).collect();
                let rate = progress.rate();
                format!("{counts}{rows} rows in {seconds:.1} s, {rate}/s\n")
            }
        }
    }

    /// How many rows had which outcome, and at last those without one.
    fn all_counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let unsettled = (self.unsettled > 0).then_some(("unsettled", self.unsettled as u64));
        let settled = self.counts.iter();
        settled
            .map(|(outcome, count)| (*outcome, *count))
            .chain(unsettled)
    }

    /// Prints the counts, and why the import stopped if it did. Returns the exit status.
    pub fn finish(self, output: Output, progress: &Progress) -> ExitCode {
        progress.end();
        let printed = stdout::print(&self.summary(output, progress));
        let status = match self.stopped {
            Some(Stop { why, status }) => {
                stderr::print(format_args!("users-cli: stopped: {why}"));
                stderr::print("users-cli: import the same file again to go on");
                status
            }
            None if self.refused > 0 => status::REFUSED,
            None => status::DONE,
        };
        stdout::status_after(printed, status)
    }
}
