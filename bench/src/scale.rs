//! What several of each service make of the load, and what one create costs: the figures of the
//! capacity model in `deploy/README.md`.

use std::process::Command;

use anyhow::{Context as _, ensure};
use postgres_server::Server;

use crate::Args;
use crate::load::Load;
use crate::report::Report;
use crate::rounds::take_turns;
use crate::system::{Settings, System};

/// Gateways and users services.
const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)];
const CONNECTIONS: [usize; 2] = [64, 256];

/// Runs creates against each shape in turn, and writes the results.
pub fn measure(args: &Args, server: &Server, mut report: Report) -> anyhow::Result<()> {
    let settings = Settings::workers(args.workers);
    for connections in CONNECTIONS {
        let systems = SHAPES
            .iter()
            .map(|(gateways, replicas)| {
                System::start_many(server, "bench", &settings, *gateways, *replicas)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let readings = take_turns(args, &systems, |system| {
            server.connect("bench")?.batch_execute("TRUNCATE users")?;
            Load::Create.run(system, server, connections, args.seconds)
        })?;
        for ((gateways, replicas), readings) in SHAPES.iter().zip(readings) {
            let name = format!("create, {gateways} gateway, {replicas} users-svc");
            report.add(&name, connections, &readings)?;
        }
    }
    report.notes.push(bytes(args, server)?);
    report.write(&args.out.join("scale"))
}

/// Bytes per create, at 64 connections on one of each.
fn bytes(args: &Args, server: &Server) -> anyhow::Result<String> {
    let system = System::start(server, "bench_bytes", &Settings::workers(args.workers))?;
    let mut sql = server.connect("bench_bytes")?;
    sql.batch_execute("TRUNCATE users; CHECKPOINT")?;
    let mut wal = |since: &str| -> anyhow::Result<(String, i64)> {
        let query = "SELECT pg_current_wal_lsn()::text, \
                     (pg_current_wal_lsn() - $1::text::pg_lsn)::bigint";
        let row = sql.query_one(query, &[&since])?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    let (before, _) = wal("0/0")?;
    let (rpc, db) = (traffic(system.rpc_port)?, traffic(server.port())?);
    let log = system.log_bytes()?;
    Load::Create.run(&system, server, 64, args.seconds * 3)?;
    let (rpc_after, db_after) = (traffic(system.rpc_port)?, traffic(server.port())?);
    let log = system.log_bytes()? - log;
    let (_, wal) = wal(&before)?;
    let size = "SELECT count(*), pg_table_size('users'), pg_indexes_size('users') FROM users";
    let row = sql.query_one(size, &[])?;
    let rows: i64 = row.try_get(0)?;
    ensure!(rows > 0, "nothing was created");
    #[expect(clippy::cast_precision_loss)]
    let per_row = |bytes: i64| bytes as f64 / rows as f64;
    Ok(format!(
        "Bytes per create, over {rows} of them at 64 connections: WAL {:.0} (the first changes of each \
         page since a checkpoint included), table {:.0}, indexes {:.0}; RPC {:.0} to the users service \
         and {:.0} back, SQL {:.0} to PostgreSQL and {:.0} back (payload of TCP); log {:.0}.",
        per_row(wal),
        per_row(row.try_get(1)?),
        per_row(row.try_get(2)?),
        per_row(rpc_after.0 - rpc.0),
        per_row(rpc_after.1 - rpc.1),
        per_row(db_after.0 - db.0),
        per_row(db_after.1 - db.1),
        per_row(log),
    ))
}

/// Bytes that the server on `port` of this machine has received and sent on the connections it has.
fn traffic(port: u16) -> anyhow::Result<(i64, i64)> {
    let output = Command::new("ss")
        .args(["-Htin", "sport", "=", &format!(":{port}")])
        .output()
        .context("cannot run ss; on Debian: apt-get install iproute2")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sum = |key: &str| -> i64 {
        let values = text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(key));
        values.filter_map(|value| value.parse::<i64>().ok()).sum()
    };
    Ok((sum("bytes_received:"), sum("bytes_sent:")))
}
