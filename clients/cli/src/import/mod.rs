//! `users-cli import`: creates the users of a CSV file, with many calls in flight.

mod records;
mod report;
mod rows;
mod settle;

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use users_client::{CallOptions, LocalClient};

use self::report::{Report, Stop};
use self::settle::settle;
use crate::output::Format;
use crate::user::{IMPORT_COLUMNS, REJECTED_COLUMNS};

#[derive(Args, Debug)]
#[command(about = about(), long_about = about() + ABOUT_IDS)]
pub struct Import {
    /// The file; `-`: standard input.
    file: PathBuf,
    /// Calls in flight at once.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    #[arg(long, help = about_rejected())]
    rejected: Option<PathBuf>,
    /// Seconds to go on trying when the service is away or overloaded.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

fn about() -> String {
    format!("Create the users of a CSV file, whose first line names its columns: {IMPORT_COLUMNS}")
}

const ABOUT_IDS: &str = ".

A row without an id gets one made out of its e-mail address and name. So an import that was \
interrupted is simply started again: what is there already is only counted.";

fn about_rejected() -> String {
    let columns = REJECTED_COLUMNS.join(", ");
    format!(
        "File to write the rows to that were not stored, as CSV: line, {columns}, outcome, reason. \
         It replaces that of an import before, and no other file"
    )
}

impl Import {
    /// Creates all users of the file, prints what became of them, and returns the exit status.
    pub async fn run(
        &self,
        client: &LocalClient,
        options: &CallOptions,
        format: Format,
    ) -> ExitCode {
        let imported = self.import(client, options).await;
        match imported.and_then(|report| report.finish(format)) {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                eprintln!("users-cli: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    /// Reads rows as fast as they are answered, until the last one or until one cannot be settled. Then the
    /// rows in flight still end, as each of them may have been written.
    async fn import(&self, client: &LocalClient, options: &CallOptions) -> anyhow::Result<Report> {
        let (input, bar) = self.open()?;
        let rows = rows::read(input)?;
        let mut report = Report::new(self.rejected.as_deref(), bar)?;

        let patience = Duration::from_secs(self.patience);
        let rows = stream::unfold(rows, async |mut rows| Some((rows.recv().await?, rows)));
        let (rows, stop) = stream::abortable(rows);
        let settled = rows
            .map(async |row| io::Result::Ok(settle(row?, client, options, patience, &stop).await))
            .buffer_unordered(self.in_flight.into());
        let mut settled = pin!(settled);

        while let Some(settled) = settled.next().await {
            let (why, status) = match settled {
                Ok(row) if row.is_settled() => {
                    report.add(&row)?;
                    continue;
                }
                Ok(row) => (row.reason(), row.status()),
                Err(error) => (format!("cannot read on: {error}"), 1),
            };
            report.stop(Stop { why, status });
            stop.abort();
        }
        Ok(report)
    }

    /// The file, and a bar that shows how much of it has been read.
    fn open(&self) -> anyhow::Result<(impl Read + Send + use<>, ProgressBar)> {
        let from_stdin = self.file.as_os_str() == "-";
        let (input, bar, style): (Box<dyn Read + Send>, _, _) = if from_stdin {
            let bar = ProgressBar::new_spinner();
            (Box::new(io::stdin()), bar, "{spinner} {bytes}, {msg}")
        } else {
            let name = self.file.display();
            let file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
            let bar = ProgressBar::new(file.metadata()?.len());
            let style = "{bar:30} {bytes} of {total_bytes}, {msg}, {eta} left";
            (Box::new(file), bar, style)
        };
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.set_message("no rows yet");
        Ok((bar.wrap_read(input), bar))
    }
}
