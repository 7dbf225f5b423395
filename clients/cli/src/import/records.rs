//! Splits a CSV file into records, so that a bad one costs only itself.
//!
//! A record is a line, or several when a quoted field has line breaks (RFC 4180). A quote that is not closed
//! within [`MAX_RECORD`], or is closed in the middle of a field, makes its line a bad record, and the next
//! line begins another one.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};

/// Bytes of a record, more than ten times those of the longest valid user.
const MAX_RECORD: usize = 16 * 1024;

/// Bytes that are read from the file at once: some chunks of rows.
const READ_AT_ONCE: usize = 256 * 1024;

/// The records of a file.
pub struct Records<R> {
    /// What separates two fields.
    pub separator: u8,
    input: BufReader<R>,
    /// Lines that were searched for a closing quote, and are still to be read.
    ahead: VecDeque<Vec<u8>>,
    /// Lines that have been read.
    lines: u64,
}

/// A record of the file.
pub struct Record {
    /// Where it begins, counted from 1.
    pub line: u64,
    /// Its text with a line feed at the end, or as much of it as was kept.
    pub text: Vec<u8>,
    /// What is wrong with the text.
    pub fault: Option<String>,
}

impl<R: Read> Records<R> {
    pub fn new(input: R) -> Self {
        Self {
            separator: b',',
            input: BufReader::with_capacity(READ_AT_ONCE, input),
            ahead: VecDeque::new(),
            lines: 0,
        }
    }

    /// Whether the next line that is not blank has been read already, so that nobody waits for it.
    pub fn has_next_line(&self) -> bool {
        let ends_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let read = self.input.buffer();
        let text = read.iter().position(|byte| !ends_line(byte));
        text.is_some_and(|text| read[text..].iter().any(ends_line))
            || self.ahead.iter().any(|line| line != b"\n")
    }

    /// Reads the next record that is not a blank line; `None` at the end of the file.
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        let mut text = self.next_text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let line = self.lines;
        let fault = if text.len() > MAX_RECORD {
            Some(format!("is longer than {MAX_RECORD} bytes"))
        } else if self.read_to_closing_quote(&mut text)? {
            None
        } else {
            Some("unclosed quote?".into())
        };
        Ok(Some(Record { line, text, fault }))
    }

    /// The next line that is not blank; empty at the end of the file.
    pub fn next_text(&mut self) -> io::Result<Vec<u8>> {
        let mut line = self.next_line()?;
        while line == b"\n" {
            line = self.next_line()?;
        }
        Ok(line)
    }

    /// Adds the lines that a quoted field of `text` goes on for. Returns `false`, having added none, when
    /// its closing quote is not found.
    fn read_to_closing_quote(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        let mut quotes = Quotes::default();
        quotes.read(text, self.separator);
        if quotes.is_misplaced {
            return Ok(false);
        }
        let (first_line, first_len, mut added) = (self.lines, text.len(), VecDeque::new());
        while quotes.is_open() {
            let line = self.next_line()?;
            quotes.read(&line, self.separator);
            text.extend_from_slice(&line);
            let is_last = line.is_empty();
            added.push_back(line);

            if is_last || quotes.is_misplaced || text.len() > MAX_RECORD {
                added.append(&mut self.ahead);
                self.ahead = added;
                self.lines = first_line;
                text.truncate(first_len);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next line with its end; empty at the end of the file.
    fn next_line(&mut self) -> io::Result<Vec<u8>> {
        let line = match self.ahead.pop_front() {
            Some(line) => line,
            None => self.read_line()?,
        };
        self.lines += u64::from(!line.is_empty());
        Ok(line)
    }

    /// Reads a line, and ends it with a line feed, whatever ended it. Of one that is too long, keeps just
    /// enough to tell.
    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let text = &buffer[..end.unwrap_or(buffer.len())];
            let kept = text.len().min(MAX_RECORD + 1 - line.len());
            line.extend_from_slice(&text[..kept]);

            let is_last = buffer.is_empty();
            let ends_in_cr = end.is_some_and(|end| buffer[end] == b'\r');
            let read = text.len() + usize::from(end.is_some());
            self.input.consume(read);
            if ends_in_cr && self.input.fill_buf()?.first() == Some(&b'\n') {
                self.input.consume(1);
            }
            if end.is_some() || (is_last && !line.is_empty()) {
                line.push(b'\n');
                return Ok(line);
            }
            if is_last {
                return Ok(line);
            }
        }
    }
}

/// Where the text that was read so far stands with its quotes.
#[derive(Default)]
struct Quotes {
    state: State,
    /// Whether a quoted field goes on after its closing quote, which readers of CSV take as they like.
    is_misplaced: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    FieldBegins,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: it is the closing one unless another one follows.
    Closed,
}

impl Quotes {
    fn read(&mut self, text: &[u8], separator: u8) {
        for byte in text {
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::Closed,
                (State::FieldBegins | State::Closed, b'"') | (State::Quoted, _) => State::Quoted,
                (_, b'\n') => State::FieldBegins,
                (_, byte) if *byte == separator => State::FieldBegins,
                (state, _) => {
                    self.is_misplaced |= state == State::Closed;
                    State::Unquoted
                }
            };
        }
    }

    fn is_open(&self) -> bool {
        self.state == State::Quoted
    }
}
