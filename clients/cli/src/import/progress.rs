//! Tells how an import gets on while it runs: a bar at a terminal, and elsewhere a line when it has to wait.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::stderr;

/// How long no row may be settled before a row that is tried again means that the import waits.
const WAITS_AFTER: Duration = Duration::from_secs(1);

pub struct Progress {
    bar: ProgressBar,
    begin: Instant,
    rows: Cell<u64>,
    last_settled_at: Cell<Instant>,
    is_waiting: Cell<bool>,
}

impl Progress {
    pub fn new(bar: ProgressBar) -> Self {
        bar.set_message("no rows yet");
        Self {
            bar,
            begin: Instant::now(),
            rows: Cell::new(0),
            last_settled_at: Cell::new(Instant::now()),
            is_waiting: Cell::new(false),
        }
    }

    /// A row was settled.
    pub fn settled(&self) {
        self.rows.set(self.rows.get() + 1);
        self.last_settled_at.set(Instant::now());
        let was_waiting = self.is_waiting.replace(false);
        if was_waiting && self.bar.is_hidden() {
            stderr::print("users-cli: the import goes on");
        }
        if was_waiting || self.rows.get().is_multiple_of(256) {
            let message = format!("{} rows, {}/s", self.rows(), self.rate());
            self.bar.set_message(message);
        }
    }

    /// A row is to be tried again, because of `why`.
    pub fn tries_again(&self, why: &str) {
        if self.last_settled_at.get().elapsed() < WAITS_AFTER {
            return;
        }
        let was_waiting = self.is_waiting.replace(true);
        self.bar.set_message(format!("waiting: {why}"));
        if !was_waiting && self.bar.is_hidden() {
            stderr::print(format_args!(
                "users-cli: waiting for the users service: {why}"
            ));
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| stderr::print(format_args!("{line}")));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Rows that were settled.
    pub fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// Rows a second so far.
    pub fn rate(&self) -> u128 {
        u128::from(self.rows()) * 1000 / self.begin.elapsed().as_millis().max(1)
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}
