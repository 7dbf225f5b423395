//! Bulk creation: many calls in flight on one link, rows read as fast as they are answered.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use csv::StringRecord;
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};
use users_client::{CallOptions, LocalClient, NewUser};
use uuid::{Uuid, uuid};

use crate::output::{Format, Outcome, Printer, print_line};

/// Makes ids out of rows (UUIDv5, RFC 9562 section 5.5). Never change it: an import that is started
/// again would not know its rows.
const ROW_NAMESPACE: Uuid = uuid!("2a1d6b0e-5d3c-4f6e-8a53-9f3f0b6f8c11");
/// Pause before a row is tried again that the service could not take, at first and at most.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Refused rows that are shown when there is no file for them.
const SHOWN: usize = 10;

#[derive(Args, Debug)]
pub struct Import {
    /// The file; `-`: standard input.
    file: PathBuf,
    /// Calls in flight at once.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// File to write the rows to that were not stored, as CSV: line, email, name, outcome, reason.
    #[arg(long)]
    rejected: Option<PathBuf>,
    /// Seconds to go on trying when the service is away or overloaded.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// A row of the file.
struct Row {
    /// Where it begins, counted from 1.
    line: u64,
    user: Result<NewUser, String>,
}

/// What became of the rows.
struct Report {
    counts: BTreeMap<&'static str, u64>,
    rejected: Option<csv::Writer<File>>,
    shown: usize,
    /// Why the import ended before its rows did, and the exit status for that.
    stopped: Option<(String, u8)>,
}

impl Import {
    /// Creates all users of the file, prints what became of them, and returns the exit status.
    pub async fn run(
        &self,
        client: &LocalClient,
        options: &CallOptions,
        printer: &Printer,
    ) -> ExitCode {
        match self.import(client, options, printer).await {
            Ok(Report {
                stopped: Some((why, status)),
                ..
            }) => {
                eprintln!("users-cli: stopped: {why}");
                eprintln!("users-cli: import the same file again to go on");
                ExitCode::from(status)
            }
            Ok(report)
                if report
                    .counts
                    .keys()
                    .any(|k| !["created", "replayed"].contains(k)) =>
            {
                ExitCode::from(3)
            }
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("users-cli: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    async fn import(
        &self,
        client: &LocalClient,
        options: &CallOptions,
        printer: &Printer,
    ) -> anyhow::Result<Report> {
        let begin = Instant::now();
        let read = Arc::new(AtomicU64::new(0));
        let (input, bar) = self.open(read.clone())?;
        bar.set_message("no rows yet");
        let rows = rows(input)?;
        let mut report = Report::new(self.rejected.as_ref())?;
        let patience = Duration::from_secs(self.patience);
        let settled = stream::unfold(rows, async |mut rows| Some((rows.recv().await?, rows)))
            .map(async |row: csv::Result<Row>| {
                let row = row?;
                let outcome = match &row.user {
                    Ok(new) => Ok(settle(client, options, new, patience).await),
                    Err(fault) => Err(fault.clone()),
                };
                csv::Result::Ok((row, outcome))
            })
            .buffer_unordered(self.in_flight.into());
        let mut settled = std::pin::pin!(settled);
        let mut done: u64 = 0;
        while let Some(settled) = settled.next().await {
            let (row, outcome) = match settled {
                Ok((_, Ok(outcome))) if outcome.status() > 3 => {
                    report.stopped = Some((outcome.message(), outcome.status()));
                    break;
                }
                Ok(settled) => settled,
                Err(error) => {
                    report.stopped = Some((format!("cannot read on: {error}"), 1));
                    break;
                }
            };
            done += 1;
            report.add(&row, outcome, &bar)?;
            bar.set_position(read.load(Ordering::Relaxed));
            if done.is_multiple_of(256) {
                bar.set_message(format!("{done} rows, {}/s", rate(done, begin)));
            }
        }
        bar.finish_and_clear();
        report.print(printer.format, done, begin)?;
        Ok(report)
    }

    /// The file, whose progress is counted in `read`, and a bar for it.
    fn open(&self, read: Arc<AtomicU64>) -> anyhow::Result<(Counted, ProgressBar)> {
        let style = "{bar:30} {bytes} of {total_bytes}, {msg}, {eta} left";
        if self.file.as_os_str() == "-" {
            let style = ProgressStyle::with_template("{spinner} {bytes}, {msg}")?;
            let bar = ProgressBar::new_spinner().with_style(style);
            return Ok((Counted(Box::new(io::stdin()), read), bar));
        }
        let name = self.file.display();
        let file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
        let bar = ProgressBar::new(file.metadata()?.len());
        let bar = bar.with_style(ProgressStyle::with_template(style)?);
        Ok((Counted(Box::new(file), read), bar))
    }
}

/// Reads the rows on a thread of its own, a bounded number ahead; an error is the last thing it sends.
/// Fails when the first line does not name the columns.
fn rows(input: Counted) -> anyhow::Result<mpsc::Receiver<csv::Result<Row>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let headers = reader.headers().context("cannot read the first line")?;
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let (Some(email), Some(name)) = (column("email"), column("name")) else {
        anyhow::bail!("the first line must name the columns: email, name, and id if there are ids");
    };
    let (id, width) = (column("id"), headers.len());
    ensure!(
        headers
            .iter()
            .all(|h| ["email", "name", "id"].contains(&h.trim())),
        "the first line names other columns than email, name and id"
    );
    let (send, rows) = mpsc::channel(1024);
    thread::spawn(move || {
        let mut record = StringRecord::new();
        loop {
            let line = reader.position().line();
            let user = match reader.read_record(&mut record) {
                Ok(false) => return,
                Ok(true) if record.len() != width => {
                    Err(format!("has {} columns instead of {width}", record.len()))
                }
                Ok(true) => new_user(&record[email], &record[name], id.map(|id| &record[id])),
                // Nobody reads on when the import has stopped.
                Err(error) if error.is_io_error() => return drop(send.blocking_send(Err(error))),
                Err(_) => Err("is not UTF-8".into()),
            };
            let line = record.position().map_or(line, csv::Position::line);
            if send.blocking_send(Ok(Row { line, user })).is_err() {
                return;
            }
        }
    });
    Ok(rows)
}

fn new_user(email: &str, name: &str, id: Option<&str>) -> Result<NewUser, String> {
    let id = match id.map(str::trim).filter(|id| !id.is_empty()) {
        Some(id) => Uuid::try_parse(id).map_err(|_| "id must be a UUID".to_owned())?,
        None => Uuid::new_v5(&ROW_NAMESPACE, format!("{email}\0{name}").as_bytes()),
    };
    Ok(NewUser {
        id,
        email: email.to_owned(),
        name: name.to_owned(),
    })
}

/// Creates a user, and tries again while the service is away or overloaded: the id makes that safe.
async fn settle(
    client: &LocalClient,
    options: &CallOptions,
    new: &NewUser,
    patience: Duration,
) -> Outcome {
    let end = Instant::now() + patience;
    let mut pause = RETRY_PAUSE.0;
    loop {
        let outcome = Outcome::from(client.create_user(new, options).await);
        let again = matches!(
            outcome,
            Outcome::Unavailable { .. } | Outcome::Unknown { .. }
        );
        if !again || Instant::now() + pause > end {
            return outcome;
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
    }
}

impl Report {
    fn new(rejected: Option<&PathBuf>) -> anyhow::Result<Self> {
        let rejected = rejected
            .map(|path| -> anyhow::Result<_> {
                let mut writer = csv::Writer::from_path(path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                writer.write_record(["line", "email", "name", "outcome", "reason"])?;
                Ok(writer)
            })
            .transpose()?;
        Ok(Self {
            counts: BTreeMap::new(),
            rejected,
            shown: 0,
            stopped: None,
        })
    }

    fn add(
        &mut self,
        row: &Row,
        outcome: Result<Outcome, String>,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let kind = match &outcome {
            Ok(Outcome::Created { .. }) => "created",
            Ok(Outcome::Replayed { .. }) => "replayed",
            Ok(Outcome::EmailTaken) => "emailTaken",
            Ok(Outcome::IdConflict) => "idConflict",
            Ok(_) => "invalid",
            Err(_) => "malformed",
        };
        *self.counts.entry(kind).or_default() += 1;
        if ["created", "replayed"].contains(&kind) {
            return Ok(());
        }
        let reason = match outcome {
            Ok(outcome) => outcome.message(),
            Err(fault) => fault,
        };
        let line = row.line.to_string();
        if let Some(file) = &mut self.rejected {
            let user = row.user.as_ref().ok();
            let (email, name) = user.map_or(("", ""), |user| (&user.email, &user.name));
            file.write_record([&line, email, name, kind, &reason])?;
        } else {
            self.shown += 1;
            if self.shown <= SHOWN {
                bar.suspend(|| eprintln!("line {line}: {kind}: {reason}"));
            } else if self.shown == SHOWN + 1 {
                bar.suspend(|| eprintln!("… further ones go into the file of --rejected"));
            }
        }
        Ok(())
    }

    fn print(&mut self, format: Format, rows: u64, begin: Instant) -> anyhow::Result<()> {
        if let Some(file) = &mut self.rejected {
            file.flush()?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        match format {
            Format::Json => print_line(
                &json!({ "rows": rows, "seconds": seconds, "outcomes": self.counts }).to_string(),
            )?,
            Format::Table => {
                for (outcome, count) in &self.counts {
                    print_line(&format!("{outcome:14} {count:>12}"))?;
                }
                print_line(&format!(
                    "{rows} rows in {seconds:.1} s, {}/s",
                    rate(rows, begin)
                ))?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn rate(rows: u64, begin: Instant) -> u64 {
    (rows as f64 / begin.elapsed().as_secs_f64()) as u64
}

/// Input whose bytes are counted.
struct Counted(Box<dyn Read + Send>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
