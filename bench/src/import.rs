//! Imports of one file of users: by `users-cli import`, and by `psql \copy`, which checks no rule.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use postgres_server::Server;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::program::{Program, run};
use crate::system::System;

/// Users in CSV, with ids.
pub struct Users {
    file: NamedTempFile,
    rows: u64,
}

/// What an import came to.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    pub per_second: f64,
    /// Peak resident memory of the client, in MiB.
    pub memory: f64,
}

/// What `users-cli -o json import` writes.
#[derive(Deserialize)]
struct Summary {
    rows: u64,
    outcomes: BTreeMap<String, u64>,
}

impl Users {
    /// Writes so many users into a file. Like version 7 of a UUID, an id begins with a time; e-mail addresses
    /// are in no order.
    pub fn write(rows: u64) -> anyhow::Result<Self> {
        let file = NamedTempFile::new()?;
        let mut csv = BufWriter::new(file.as_file());
        writeln!(csv, "id,email,name")?;
        for i in 0..rows {
            let random = scramble(i);
            writeln!(
                csv,
                "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x},{random:016x}@example.com,User {i}",
                i >> 16,
                i & 0xffff,
                random >> 52,
                random >> 40 & 0xfff,
                random & 0xffff_ffff_ffff,
            )?;
        }
        csv.flush()?;
        drop(csv);
        Ok(Self { file, rows })
    }

    fn command(&self, system: &System) -> anyhow::Result<Command> {
        let mut command = Program::command("users-cli")?;
        command
            .args(["--output", "json", "import"])
            .arg(self.file.path())
            .env("USERS_ADDR", format!("127.0.0.1:{}", system.rpc_port));
        Ok(command)
    }

    /// Imports them, and checks that each row has this outcome.
    pub fn import(
        &self,
        system: &System,
        server: &Server,
        outcome: &str,
    ) -> anyhow::Result<Import> {
        let (import, text) = self.time(&mut self.command(system)?)?;
        let summary: Summary = serde_json::from_str(&text)?;
        let expected = BTreeMap::from([(outcome.to_owned(), self.rows)]);
        ensure!(
            summary.rows == self.rows && summary.outcomes == expected,
            "not every row was {outcome}: {text}"
        );
        self.ensure_stored(system, server)?;
        Ok(import)
    }

    /// Puts them into the table without the service.
    pub fn copy(&self, system: &System, server: &Server) -> anyhow::Result<Import> {
        let path = self.file.path().to_string_lossy().replace('\'', "''");
        let copy = format!(r"\copy users (id,email,name) FROM '{path}' WITH (FORMAT csv, HEADER)");
        let mut command = Command::new(server.program("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--command", &copy])
            .arg(server.url(system.database()));
        let (import, _) = self.time(&mut command)?;
        self.ensure_stored(system, server)?;
        Ok(import)
    }

    /// Runs a client that imports them. Returns what it wrote, too.
    fn time(&self, command: &mut Command) -> anyhow::Result<(Import, String)> {
        let begin = Instant::now();
        let (text, memory) = run(command)?;
        #[expect(clippy::cast_precision_loss)]
        let per_second = self.rows as f64 / begin.elapsed().as_secs_f64();
        Ok((Import { per_second, memory }, text))
    }

    /// Checks that the table has them, and no others.
    fn ensure_stored(&self, system: &System, server: &Server) -> anyhow::Result<()> {
        let mut sql = server.connect(system.database())?;
        let count: i64 = sql
            .query_one("SELECT count(*) FROM users", &[])?
            .try_get(0)?;
        let rows = self.rows;
        ensure!(
            u64::try_from(count)? == rows,
            "{count} users are stored of {rows}"
        );
        Ok(())
    }

    /// Starts an import, which goes on until it is dropped. Returns when it has stored users.
    pub fn begin(&self, system: &System, server: &Server) -> anyhow::Result<Program> {
        let mut sql = server.connect(system.database())?;
        let mut command = self.command(system)?;
        // It will be stopped, and says so.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut importing = Program::spawn(&mut command)?;
        while sql.query_opt("SELECT FROM users LIMIT 1", &[])?.is_none() {
            importing
                .ensure_runs("it has ended")
                .context("users-cli import stores nothing")?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(importing)
    }
}

/// Another number for each number, in no order (SplitMix64, Steele et al. 2014).
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
