//! The line protocol: a program that makes the calls of the client under test, one for each line.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;

/// The longest line, and the longest error output, that is kept: thousands of outcomes, or a stack trace.
const MAX_BYTES: u64 = 256 * 1024;

/// How long a driver that has ended, or was ended, may keep its exit status or its error output back. A program
/// that it started can hold these open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A program that makes the calls. It ends when this is dropped.
pub struct Driver {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    errors: Arc<Mutex<Vec<u8>>>,
    /// Disconnected when the error output has ended.
    errors_ended: Receiver<()>,
}

/// Why there is no answer of a driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The driver ended, or closed its standard output.
    #[error("the driver ended without an answer{}", match .0 {
        Some(status) => format!(" ({status})"),
        None => String::new(),
    })]
    Ended(Option<ExitStatus>),
    /// The driver printed no line for so long.
    #[error("the driver printed no line within {0:?}")]
    NoAnswer(Duration),
}

impl Driver {
    /// Starts the program.
    pub fn start(mut program: Command) -> io::Result<Self> {
        program.stdin(Stdio::piped());
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = program.spawn()?;
        let (Some(input), Some(output), Some(mut stderr)) = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        ) else {
            return Err(io::Error::other("a pipe to the driver is missing"));
        };

        let (sender, lines) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let mut output = BufReader::new(output);
            while let Ok(Some(line)) = read_line(&mut output) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        })?;
        let errors: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (ended, errors_ended) = mpsc::channel::<()>();
        let collected = errors.clone();
        thread::Builder::new().spawn(move || {
            let _ended = ended;
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                let mut collected = collected.lock();
                if (collected.len() as u64) < MAX_BYTES {
                    collected.extend_from_slice(&buffer[..count]);
                }
            }
        })?;
        Ok(Self {
            process,
            input,
            lines,
            errors,
            errors_ended,
        })
    }

    /// Sends a line of these words, and returns the line that the driver answers within this time.
    pub fn call(&mut self, words: &[&str], within: Duration) -> Result<String, DriverError> {
        // Of a driver that has ended, the answer tells.
        let _ = writeln!(self.input, "{}", words.join(" "));
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(line.trim().to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(DriverError::NoAnswer(within)),
            Err(RecvTimeoutError::Disconnected) => Err(DriverError::Ended(self.status())),
        }
    }

    /// Ends the driver, and returns what it wrote to its standard error.
    pub fn stderr(&mut self) -> String {
        self.kill();
        let _ = self.errors_ended.recv_timeout(LAST_WORDS);
        String::from_utf8_lossy(&self.errors.lock()).into_owned()
    }

    /// The exit status of a driver that has closed its output.
    fn status(&mut self) -> Option<ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < LAST_WORDS {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a line, or the beginning of one that never ends. `None` is the end of the output.
fn read_line(output: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let count = output.take(MAX_BYTES).read_until(b'\n', &mut line)?;
    Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}
