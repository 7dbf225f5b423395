//! The load benchmark: builds up the real system, loads it at several numbers of connections beside
//! its limits, and writes tables and plots.

mod import;
mod load;
mod peer;
mod plot;
mod program;
mod ratios;
mod report;
mod rounds;
mod scale;
mod system;
mod table;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;
use postgres_server::Server;

use crate::load::Load;
use crate::peer::Peer;
use crate::report::Report;
use crate::rounds::take_turns;
use crate::system::{Settings, System};

/// Measures the users backend on this machine.
#[derive(Debug, Parser)]
pub struct Args {
    /// Numbers of HTTP connections, with commas between them.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 256, 1024])]
    connections: Vec<usize>,
    /// Rounds; each figure is the median of as many, and the loads take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rounds before them that do not count: a new system is slower, and its figures scatter.
    #[arg(long, default_value_t = 2)]
    warm_up: usize,
    /// Seconds of each load in each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Worker threads of each service.
    #[arg(long, default_value_t = 1, conflicts_with = "ratios")]
    workers: usize,
    /// Also compares an empty table with one of so many rows, such as 10000000.
    #[arg(long)]
    rows: Option<u64>,
    /// Idle connections to hold while memory is read; 0: none.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Only measures what several of each service make of it, and what one create costs.
    #[arg(long, conflicts_with = "ratios")]
    scale: bool,
    /// Only measures ratios, with default settings: of imports, of creates beside one, over mutual TLS and on
    /// several replicas, and of each `--peer`; and the memory of an idle connection.
    #[arg(long)]
    ratios: bool,
    /// With `--ratios`: the rows of an import.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(requires = "ratios")]
    import_rows: u64,
    /// With `--ratios`: also compares with this server, which has the same `POST /users` and `GET /users/{id}`
    /// and runs on this machine. It may be repeated.
    #[arg(long = "peer", value_name = "NAME=URL", requires = "ratios")]
    peers: Vec<Peer>,
    /// Folder for the results; with `--scale` or `--ratios`, the folder of that name in it.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.rounds > 0, "--rounds: at least one is needed");
    service_runtime::limits::raise_open_files_limit();
    let server = Server::temporary()?;
    let mut report = Report::new(&args, &server)?;
    if args.scale {
        return scale::measure(&args, &server, report);
    }
    if args.ratios {
        return ratios::measure(&args, &server, report);
    }

    let settings = Settings::workers(args.workers);
    let system = System::start(&server, "bench", &settings)?;
    report.ready = system.ready;
    system.create_ids()?;
    for &connections in &args.connections {
        let readings = take_turns(&args, &Load::ALL, |load| {
            load.run(&system, &server, connections, args.seconds)
        })?;
        for (load, readings) in Load::ALL.into_iter().zip(readings) {
            report.add(load.name(), connections, &readings)?;
        }
    }
    if args.idle > 0 {
        // Of its own, as memory that a load has left behind is not that of idle connections.
        let fresh = System::start(&server, "bench", &settings)?;
        let _held = fresh.idle_connections(args.idle)?;
        report.idle = Some(fresh.memory()?);
    }
    report.write(&args.out)?;
    if let Some(rows) = args.rows {
        let full = System::start(&server, "bench_full", &settings)?;
        fill(&server, "bench_full", rows)?;
        let readings = take_turns(&args, &[&system, &full], |system| {
            // What creates in the full table add to it is little.
            server.connect("bench")?.batch_execute("TRUNCATE users")?;
            Load::Create.run(system, &server, 64, args.seconds)
        })?;
        let names = ["create, empty table".into(), format!("create, {rows} rows")];
        for (name, readings) in names.iter().zip(readings) {
            report.add(name, 64, &readings)?;
        }
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
