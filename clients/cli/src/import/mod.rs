//! `users-cli import`: creates the users of a CSV file, in calls of many at once.

mod header;
mod progress;
mod records;
mod rejected;
mod report;
mod rows;
mod settle;
mod signals;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{Stream, StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use same_file::Handle;
use tokio_util::sync::CancellationToken;
use users_client::{CallOptions, LocalClient};

use self::progress::Progress;
use self::rejected::RejectedRows;
use self::report::{Report, Stop};
use self::rows::Rows;
use self::settle::{SettledRow, Settler};
use self::signals::Signals;
use crate::output::Output;
use crate::{status, stderr};

/// Create the users of a CSV file, whose first line names its columns: email, name, and id if there are ids.
///
/// The columns are separated by commas, semicolons or tabs.
///
/// A row without an id gets one made out of its e-mail address and name. So an import that was interrupted is simply
/// started again: what is there already is only counted, as replayed.
#[derive(Args, Debug)]
pub struct Import {
    /// The file; `-`: standard input.
    file: PathBuf,
    /// Calls in flight at once, of up to 500 rows each.
    #[arg(long, default_value_t = 4, value_name = "CALLS", value_parser = clap::value_parser!(u16).range(1..=4))]
    in_flight: u16,
    /// File to write the rows to that were not stored. It has the columns of the imported file, and line, outcome and
    /// reason. Mend it, and import it: those three are read over. It replaces that of an import before, and no other
    /// file.
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Seconds to go on trying when the service is away or overloaded.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u32,
}

/// What is needed to begin.
struct Started {
    rows: Rows,
    report: Report,
    progress: Progress,
    signals: Signals,
}

impl Import {
    /// Creates all users of the file, prints what became of them, and returns the exit status.
    pub async fn run(
        &self,
        client: &LocalClient,
        options: &CallOptions,
        output: Output,
    ) -> ExitCode {
        match self.start() {
            Ok(started) => self.import(started, client, options, output).await,
            Err(error) => {
                stderr::print(format_args!("users-cli: {error:#}"));
                ExitCode::from(status::FAILED)
            }
        }
    }

    /// Opens all files.
    fn start(&self) -> anyhow::Result<Started> {
        let (input, handle, bar) = self.open()?;
        let (header, rows) = rows::read(input)?;
        let rejected = self.rejected.as_deref();
        let rejected = rejected.map(|path| RejectedRows::create(path, &handle, header));
        Ok(Started {
            rows,
            report: Report::new(rejected.transpose()?),
            progress: Progress::new(bar),
            signals: Signals::catch()?,
        })
    }

    /// Reads rows as fast as they are answered, until the last one, until one cannot be settled, or until a signal.
    /// Then the rows in flight still end, as each of them may have been written.
    async fn import(
        &self,
        started: Started,
        client: &LocalClient,
        options: &CallOptions,
        output: Output,
    ) -> ExitCode {
        let Started {
            rows,
            mut report,
            progress,
            signals,
        } = started;
        let stop = CancellationToken::new();
        let settler = Settler {
            client,
            options,
            patience: Duration::from_secs(self.patience.into()),
            stop: &stop,
            progress: &progress,
            in_flight: Cell::new(0),
        };
        let rows = stream::unfold(rows, async |mut rows| Some((rows.recv().await?, rows)));
        let settled = rows
            .take_until(stop.cancelled())
            .map(async |chunk| io::Result::Ok(settler.settle(chunk?).await))
            .buffer_unordered(self.in_flight.into());
        take_settled(settled, &settler, &mut report, signals).await;
        report.finish(output, &progress)
    }

    /// The file, what tells it from others, and a bar that shows how much of it has been read.
    fn open(&self) -> anyhow::Result<(impl Read + Send + use<>, Handle, ProgressBar)> {
        let from_stdin = self.file.as_os_str() == "-";
        let (input, handle, bar, style): (Box<dyn Read + Send>, _, _, _) = if from_stdin {
            let bar = ProgressBar::new_spinner();
            let style = "{spinner} {bytes}, {wide_msg}";
            (Box::new(io::stdin()), Handle::stdin()?, bar, style)
        } else {
            let name = self.file.display();
            let file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
            let handle = Handle::from_file(file.try_clone()?)?;
            let bar = ProgressBar::new(file.metadata()?.len());
            let style = "{bar:30} {bytes} of {total_bytes}, {eta} left, {wide_msg}";
            (Box::new(file), handle, bar, style)
        };
        bar.set_style(ProgressStyle::with_template(style)?);
        Ok((bar.wrap_read(input), handle, bar))
    }
}

/// Reports rows as they are settled, until the last one. A fault or a signal stops the import before, and a second
/// signal leaves the rows in flight to themselves.
async fn take_settled(
    settled: impl Stream<Item = io::Result<Vec<SettledRow>>>,
    settler: &Settler<'_>,
    report: &mut Report,
    mut signals: Signals,
) {
    let mut settled = pin!(settled);

    loop {
        let fault = tokio::select! {
            settled = settled.next() => match settled {
                Some(Ok(rows)) => {
                    if !report.add(&rows, settler.progress) {
                        settler.stop.cancel();
                    }
                    None
                }
                Some(Err(error)) => Some(Stop {
                    why: format!("cannot read on: {error}"),
                    status: status::FAILED,
                }),
                None => break,
            },
            signal = signals.next() => {
                let in_flight = settler.in_flight.get();
                if settler.stop.is_cancelled() {
                    report.abandon(in_flight);
                    break;
                }
                settler.progress.say(&format!(
                    "users-cli: stopping; rows in flight: {in_flight} (again to stop without them)"
                ));
                Some(signal)
            }
        };
        if let Some(fault) = fault {
            report.stop(fault);
            settler.stop.cancel();
        }
    }
}
