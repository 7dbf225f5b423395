//! Log lines on standard error, as text or JSON: each is one line, and none makes its caller wait.

use std::fmt::Display;
use std::io::{self, BufWriter, Stderr, Write};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::{panic, thread, time::Duration};

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

/// Lines that wait for a slow reader of standard error, which take 3 MB. Further ones are dropped.
const MAX_QUEUED: usize = 10_000;
/// How long lines gather before they are written, which spares a system call and a wake-up for each.
const GATHER: Duration = Duration::from_millis(1);
/// How long the end of the process waits for them.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Characters of a text from elsewhere that a log line shows.
const MAX_SHOWN: usize = 200;

/// The thread that writes, until [`flush`] ends it.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Form of the log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging. Does nothing when this process logs already. `service` names it in lines of JSON.
pub fn init(service: &str, format: LogFormat, directives: &str) {
    let (queue, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_QUEUED)
        .thread_name("log")
        .finish(Gathered(BufWriter::new(io::stderr())));
    let dropped = queue.error_counter();
    // Names without a quote or a backslash.
    let members: Arc<str> = format!("{{\"service\":\"{service}\",").into();
    let log = fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(move || PrintableLines {
            queue: queue.clone(),
            members: members.clone(),
        })
        .with_ansi(false);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };

    if started.is_ok() {
        let _ = DROPPED.set(dropped);
        if let Ok(mut place) = WRITER.lock() {
            *place = Some(writer);
        }
        // The default hook waits for standard error, and shows the message, which may have personal data.
        panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            tracing::error!(at, "panicked");
        }));
    }
}

/// Lines that were dropped because standard error took no more.
pub fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    dropped.try_into().unwrap_or(u64::MAX)
}

/// Ends logging, once what waits to be written has been, or after a moment.
pub fn flush() {
    let Some(writer) = WRITER.lock().ok().and_then(|mut writer| writer.take()) else {
        return;
    };
    // On a thread, because dropping it prints to standard output when it fails, which may block too.
    let (done, flushed) = mpsc::channel::<()>();
    thread::spawn(move || {
        drop(writer);
        drop(done);
    });
    let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
}

/// Standard error, as the thread that writes uses it: it flushes whenever the queue is empty.
struct Gathered(BufWriter<Stderr>);

impl Write for Gathered {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        thread::sleep(GATHER);
        flushed
    }
}

/// Lines on their way to the queue. Whatever a line shows, it stays one, and drives no terminal.
struct PrintableLines<W> {
    queue: W,
    /// With what a JSON object begins: the members that every one has.
    members: Arc<str>,
}

impl<W: Write> Write for PrintableLines<W> {
    /// Takes a whole line, as tracing-subscriber writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let is_printable = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let object = text.strip_prefix(b"{");
        if is_printable && object.is_none() {
            return self.queue.write(line);
        }

        let mut printable = String::new();
        if object.is_some() {
            printable.push_str(&self.members);
        }
        for c in String::from_utf8_lossy(object.unwrap_or(text)).chars() {
            push_escaped(&mut printable, c);
        }
        printable.push('\n');
        self.queue.write_all(printable.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks directives of `RUST_LOG`.
pub fn directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("must be a level (error, warn, info, debug, trace) or directives".into()),
    }
}

/// A text that a peer chooses, fit for a log line: at most 200 characters of it, of which those that could
/// break the line, drive a terminal or reorder what it shows are escaped.
pub fn one_line(text: &dyn Display) -> String {
    let (text, mut line) = (text.to_string(), String::new());
    for (shown, c) in text.chars().enumerate() {
        if shown == MAX_SHOWN {
            line.push('…');
            break;
        }
        push_escaped(&mut line, c);
    }
    line
}

/// Appends a character when it is printable, and otherwise `\uXXXX`, as JSON would.
fn push_escaped(line: &mut String, c: char) {
    // What `escape_debug` escapes beside quotes and backslashes is not printable: control characters,
    // separators of lines, bidi overrides.
    if matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1 {
        return line.push(c);
    }
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units).iter();
    line.extend(units.map(|unit| format!("\\u{unit:04x}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_is_one_bounded_line_that_drives_no_terminal() {
        let text = "no\r\n\u{1b}[2Jx\u{202e}y\u{9b}\u{2028}\u{7f}\u{e0001}";
        let shown = r"no\u000d\u000a\u001b[2Jx\u202ey\u009b\u2028\u007f\udb40\udc01";
        assert_eq!(one_line(&text), shown);
        assert_eq!(one_line(&r#"it's "Zoë" 用户 \"#), r#"it's "Zoë" 用户 \"#);
        assert_eq!(one_line(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(one_line(&"é".repeat(201)), "é".repeat(200) + "…");
    }

    #[test]
    fn line_stays_one_whatever_it_shows() {
        for (line, written) in [
            ("it's \"plain\"\n", "it's \"plain\"\n"),
            ("error=x\ny\u{1b}[2J é\n", "error=x\\u000ay\\u001b[2J é\n"),
            (
                "{\"error\":\"\u{202e}\"}\n",
                "{\"service\":\"x\",\"error\":\"\\u202e\"}\n",
            ),
        ] {
            let mut lines = PrintableLines {
                queue: Vec::new(),
                members: "{\"service\":\"x\",".into(),
            };
            lines.write_all(line.as_bytes()).unwrap();
            assert_eq!(lines.queue, written.as_bytes());
        }
    }
}
