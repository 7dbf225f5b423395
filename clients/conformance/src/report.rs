//! What a person reads of a case: one line, and what helps with a wrong one below it.

use std::fmt::{self, Write as _};

use crate::verdict::Verdict;
use crate::{DriverError, Trial};

/// How a client fared in a case.
pub struct Report {
    pub(crate) name: String,
    pub(crate) words: String,
    pub(crate) attempts: usize,
    pub(crate) said: Result<String, DriverError>,
    pub(crate) verdict: Verdict,
    pub(crate) stderr: String,
}

impl Report {
    pub(crate) fn new(
        trial: &Trial,
        attempts: usize,
        said: Result<String, DriverError>,
        verdict: Verdict,
        stderr: String,
    ) -> Self {
        Self {
            name: trial.name(),
            words: trial.words(),
            attempts,
            said,
            verdict,
            stderr,
        }
    }

    /// Whether the client did what it must.
    pub fn is_right(&self) -> bool {
        self.verdict.is_right
    }

    /// What the driver wrote to its standard error, each line with the name of the case.
    pub fn stderr(&self) -> String {
        let mut text = String::new();
        for line in self.stderr.lines() {
            let _ = writeln!(text, "{}: {line}", self.name);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let word = if self.is_right() { "ok" } else { "WRONG" };
        let attempts = match self.attempts {
            0 => "no attempt".to_owned(),
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        write!(f, "{word:<5} {}: the service {}; ", self.name, self.words)?;
        match &self.said {
            Ok(said) => write!(f, "after {attempts} the client says {said:?}, ")?,
            Err(error) if self.attempts == 0 => return write!(f, "{error}"),
            Err(error) => write!(f, "after {attempts}, {error}, ")?,
        }
        write!(f, "must {}", self.verdict.must)?;
        if !self.is_right()
            && let Some(why) = self.verdict.why
        {
            write!(f, "\n      {why}")?;
        }
        Ok(())
    }
}
