//! The load benchmark: builds up the real system, loads it at several numbers of connections beside
//! its limits, and writes tables and plots.

mod load;
mod plot;
mod report;
mod scale;
mod system;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;
use postgres_server::Server;

use crate::load::{Load, Reading};
use crate::report::Report;
use crate::system::System;

/// Measures the users backend on this machine.
#[derive(Debug, Parser)]
pub struct Args {
    /// Numbers of HTTP connections, with commas between them.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 256, 1024])]
    connections: Vec<usize>,
    /// Rounds; each figure is the median of as many, and the loads take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each load in each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Worker threads of each service.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Also compares an empty table with one of so many rows, such as 10000000.
    #[arg(long)]
    rows: Option<u64>,
    /// Idle connections to hold while memory is read; 0: none.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Only measures what several of each service make of it, and what one create costs.
    #[arg(long)]
    scale: bool,
    /// Folder for the results; with `--scale`, the folder `scale` in it.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    service_runtime::limits::raise_open_files_limit();
    let server = Server::temporary()?;
    let mut report = Report::new(&args, &server)?;
    if args.scale {
        return scale::measure(&args, &server, report);
    }

    let system = System::start(&server, "bench", args.workers)?;
    report.ready = system.ready;
    system.create_ids()?;
    for &connections in &args.connections {
        let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); Load::ALL.len()];
        // The first round warms up.
        for round in 0..=args.rounds {
            for (load, readings) in Load::ALL.iter().zip(&mut readings) {
                let reading = load.run(&system, &server, connections, args.seconds)?;
                if round > 0 {
                    readings.push(reading);
                }
            }
        }
        for (load, readings) in Load::ALL.into_iter().zip(readings) {
            report.add(load.name(), connections, &readings)?;
        }
    }
    if args.idle > 0 {
        // Of its own, as memory that a load has left behind is not that of idle connections.
        let fresh = System::start(&server, "bench", args.workers)?;
        report.idle = Some(fresh.memory_with_idle_connections(args.idle)?);
    }
    report.write(&args.out)?;
    if let Some(rows) = args.rows {
        let full = System::start(&server, "bench_full", args.workers)?;
        fill(&server, "bench_full", rows)?;
        let (mut on_empty, mut on_full) = (Vec::new(), Vec::new());
        for round in 0..=args.rounds {
            server.connect("bench")?.batch_execute("TRUNCATE users")?;
            for (system, readings) in [(&system, &mut on_empty), (&full, &mut on_full)] {
                let reading = Load::Create.run(system, &server, 64, args.seconds)?;
                if round > 0 {
                    readings.push(reading);
                }
            }
        }
        report.add("create, empty table", 64, &on_empty)?;
        report.add(&format!("create, {rows} rows"), 64, &on_full)?;
    }
    report.write(&args.out)
}

/// Puts `rows` users into a database, as ids and e-mail addresses come in use.
fn fill(server: &Server, database: &str, rows: u64) -> anyhow::Result<()> {
    const STEP: u64 = 1_000_000;
    let mut client = server.connect(database)?;
    for from in (0..rows).step_by(usize::try_from(STEP)?) {
        let to = rows.min(from + STEP);
        client
            .batch_execute(&format!(
                "INSERT INTO users (id, email, name) \
                 SELECT (lpad(to_hex(i), 12, '0') || '7' || substr(md5(i::text), 2, 19))::uuid, \
                 md5('bench' || i) || '@example.com', 'User ' || i \
                 FROM generate_series({from} + 1, {to}) AS i"
            ))
            .context("cannot fill the table")?;
    }
    client.batch_execute("VACUUM ANALYZE users")?;
    client.batch_execute("CHECKPOINT")?;
    thread::sleep(Duration::from_secs(2));
    let count: i64 = client
        .query_one("SELECT count(*) FROM users", &[])?
        .try_get(0)?;
    ensure!(u64::try_from(count)? >= rows, "only {count} rows were made");
    Ok(())
}
