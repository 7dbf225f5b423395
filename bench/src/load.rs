//! The loads: wrk against the gateway, and pgbench against PostgreSQL alone.

use std::process::Command;
use std::thread;

use anyhow::{Context as _, bail};
use postgres_server::Server;
use serde::Deserialize;

use crate::program::checked;
use crate::system::System;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/load.lua");
const INSERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/insert.sql");
/// Clients of pgbench at most: more do not get more commits, and the server has 100 connections.
const MAX_CLIENTS: usize = 64;

/// What is done to the system.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// `POST /users`.
    Create,
    /// `GET /users/{id}`.
    Get,
    /// `GET /livez`, which the gateway answers by itself: what HTTP alone costs.
    Floor,
    /// PostgreSQL alone, with one INSERT per commit: what there is without group commit.
    Insert,
}

/// What one load of one round came to.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Answers of 2xx, or commits, per second.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// CPU time of each, in microseconds per request.
    pub gateway_us: f64,
    pub users_us: f64,
    pub postgres_us: f64,
    /// Peak resident memory of both services, in MiB.
    pub memory: f64,
    pub errors: u64,
}

impl Load {
    /// All of them, which take turns.
    pub const ALL: [Self; 4] = [Self::Create, Self::Get, Self::Floor, Self::Insert];

    /// For the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::Floor => "HTTP floor",
            Self::Insert => "INSERT per commit",
        }
    }

    /// Runs it for some seconds.
    pub fn run(
        self,
        system: &System,
        server: &Server,
        connections: usize,
        seconds: u64,
    ) -> anyhow::Result<Reading> {
        system.reset_memory_peak()?;
        let before = system.cpu()?;
        let ids = system.ids.path().to_string_lossy();
        let wrk = |path, script: &[&str]| {
            let each = connections / system.urls.len();
            thread::scope(|scope| {
                let run = |url| scope.spawn(move || wrk(url, path, each, seconds, script));
                let running: Vec<_> = system.urls.iter().map(String::as_str).map(run).collect();
                let ended = running.into_iter().map(|one| match one.join() {
                    Ok(done) => done,
                    Err(_) => bail!("a load panicked"),
                });
                let all = ended.collect::<anyhow::Result<Vec<_>>>()?;
                all.into_iter().reduce(Done::beside).context("no gateway")
            })
        };
        let done = match self {
            Self::Create => wrk("/users", &["create"])?,
            Self::Get => wrk("/users/", &["same", &ids])?,
            Self::Floor => wrk("/livez", &["same"])?,
            Self::Insert => pgbench(server, system.database(), connections, seconds)?,
        };
        let after = system.cpu()?;
        let us = |seconds: f64| seconds * 1e6 / (done.requests - done.errors).max(1.0);
        Ok(Reading {
            per_second: done.per_second(),
            p50_ms: done.p50_ms,
            p99_ms: done.p99_ms,
            gateway_us: us(after.gateway - before.gateway),
            users_us: us(after.users - before.users),
            postgres_us: match self {
                // Its connections end before we look, and their time with them.
                Self::Insert => f64::NAN,
                _ => us(after.postgres_since(&before)),
            },
            memory: system.memory_peak()?,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            errors: done.errors as u64,
        })
    }
}

/// What `load.lua` writes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Done {
    pub requests: f64,
    seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub errors: f64,
}

impl Done {
    /// Answers of 2xx, or commits, per second.
    pub fn per_second(&self) -> f64 {
        (self.requests - self.errors) / self.seconds
    }

    /// Two loads at the same time as one.
    fn beside(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            seconds: self.seconds.max(other.seconds),
            p50_ms: f64::midpoint(self.p50_ms, other.p50_ms),
            p99_ms: self.p99_ms.max(other.p99_ms),
            errors: self.errors + other.errors,
        }
    }
}

/// Runs wrk against `path` of the server at `url`, with the arguments of `load.lua`.
pub fn wrk(
    url: &str,
    path: &str,
    connections: usize,
    seconds: u64,
    script: &[&str],
) -> anyhow::Result<Done> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .args([
            "--timeout",
            "10s",
            "-s",
            SCRIPT,
            &format!("{url}{path}"),
            "--",
        ])
        .args(script)
        .output()
        .context("cannot run wrk; on Debian: apt-get install wrk")?;
    let text = checked(&output)?;
    let line = text.lines().find(|line| line.starts_with('{'));
    Ok(serde_json::from_str(line.context("wrk says nothing")?)?)
}

fn pgbench(
    server: &Server,
    database: &str,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Done> {
    let url = server.url(database);
    let clients = connections.min(MAX_CLIENTS).to_string();
    let seconds = seconds.to_string();
    let output = Command::new(server.program("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--file", INSERT])
        .args(["--client", &clients, "--time", &seconds, &url])
        .output()
        .context("cannot run pgbench")?;
    let text = checked(&output)?;
    let value = |key: &str| -> anyhow::Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number
            .with_context(|| format!("no {key:?} in {text}"))?
            .parse()?)
    };
    let (rate, seconds) = (value("tps = ")?, seconds.parse::<f64>()?);
    let average = value("latency average = ")?;
    Ok(Done {
        requests: rate * seconds,
        seconds,
        p50_ms: average,
        p99_ms: f64::NAN,
        errors: 0.0,
    })
}
