//! Ratios: how much faster or slower one thing is than another, measured in turns. On a machine that is
//! not quiet they hold where figures do not.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, ensure};
use postgres_server::Server;
use tempfile::{NamedTempFile, TempDir};

use crate::Args;
use crate::import::{Import, Users};
use crate::load::Done;
use crate::peer::Peer;
use crate::report::Report;
use crate::rounds::take_turns;
use crate::system::{Settings, System};
use crate::table::Table;

const DATABASE: &str = "bench";
const CONNECTIONS: usize = 64;
/// More than an import can create in a second, so that it does not end before the load beside it.
const ROWS_PER_SECOND: u64 = 250_000;

const THROUGHPUT: fn(&Done) -> f64 = Done::per_second;
const P50: fn(&Done) -> f64 = |done| done.p50_ms;
const P99: fn(&Done) -> f64 = |done| done.p99_ms;

/// All that a run found out.
struct Ratios<'a> {
    args: &'a Args,
    server: &'a Server,
    report: Report,
    table: Table,
}

/// A peer, and the file with its ids if it can be read from.
type Prepared = (Peer, Option<NamedTempFile>);

/// Measures all of them, and writes the results.
pub fn measure(args: &Args, server: &Server, report: Report) -> anyhow::Result<()> {
    let mut ratios = Ratios {
        args,
        server,
        report,
        table: Table::default(),
    };
    // First, as one that is not there should be known at once.
    let peers: Vec<Prepared> = args
        .peers
        .iter()
        .map(|peer| ratios.prepare(peer.clone()))
        .collect::<anyhow::Result<_>>()?;
    ratios.imports()?;
    ratios.creates_beside_import()?;
    ratios.mutual_tls()?;
    ratios.replicas()?;
    if !peers.is_empty() {
        ratios.peers(peers)?;
    }
    if args.idle > 0 {
        ratios.idle_connections()?;
    }
    ratios.write()
}

impl Ratios<'_> {
    fn system(&self, settings: &Settings, replicas: usize) -> anyhow::Result<System> {
        System::start_many(self.server, DATABASE, settings, 1, replicas)
    }

    /// Takes all users away, and leaves PostgreSQL nothing to write back.
    fn clear(&self) -> anyhow::Result<()> {
        let mut sql = self.server.connect(DATABASE)?;
        sql.batch_execute("TRUNCATE users")?;
        Ok(sql.batch_execute("CHECKPOINT")?)
    }

    /// Creates at a system whose table is empty.
    fn creates(&self, system: &System) -> anyhow::Result<Done> {
        Peer::new("the gateway", &system.urls[0]).load(None, CONNECTIONS, self.args.seconds)
    }

    fn imports(&mut self) -> anyhow::Result<()> {
        let system = self.system(&Settings::default(), 1)?;
        let (server, rows) = (self.server, self.args.import_rows);
        let users = Users::write(rows)?;
        let readings = take_turns(self.args, &[0, 1, 2], |turn| match turn {
            0 => {
                self.clear()?;
                users.import(&system, server, "created")
            }
            1 => users.import(&system, server, "replayed"),
            _ => {
                self.clear()?;
                users.copy(&system, server)
            }
        })?;
        let values = |turn: usize, of: fn(&Import) -> f64| values(&readings[turn], of);
        let rate = |turn| values(turn, |import| import.per_second);
        let memory = |turn| values(turn, |import| import.memory);
        let what = format!("import of {rows} rows");
        let (table, copy) = (&mut self.table, format!(r"{what}, against `\copy`"));
        table.add(&copy, "rows/s", &rate(0), &rate(2))?;
        table.add(
            &format!("{what} again, against the first time"),
            "rows/s",
            &rate(1),
            &rate(0),
        )?;
        let copy = format!("{copy}: peak memory of the client");
        table.add(&copy, "MiB", &memory(0), &memory(2))
    }

    fn creates_beside_import(&mut self) -> anyhow::Result<()> {
        let system = self.system(&Settings::default(), 1)?;
        let users = Users::write((self.args.seconds + 2) * ROWS_PER_SECOND)?;
        let readings = take_turns(self.args, &[false, true], |&beside| {
            self.clear()?;
            if !beside {
                return self.creates(&system);
            }
            let mut importing = users.begin(&system, self.server)?;
            let done = self.creates(&system)?;
            importing.ensure_runs("the import ended before the load beside it")?;
            Ok(done)
        })?;
        let what = "creates while an import runs, against without one";
        self.add_creates(what, &readings[1], &readings[0])
    }

    fn mutual_tls(&mut self) -> anyhow::Result<()> {
        let folder = TempDir::new()?;
        let off = self.system(&Settings::default(), 1)?;
        let on = self.system(&Settings::mutual_tls(folder.path())?, 1)?;
        let readings = take_turns(self.args, &[&off, &on], |system| {
            self.clear()?;
            self.creates(system)
        })?;
        let what = "creates over mutual TLS between the services, against without";
        self.add_creates(what, &readings[1], &readings[0])
    }

    fn replicas(&mut self) -> anyhow::Result<()> {
        let systems = (1..=3)
            .map(|replicas| self.system(&Settings::default(), replicas))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let readings = take_turns(self.args, &systems, |system| {
            self.clear()?;
            self.creates(system)
        })?;
        for (replicas, several) in (1..).zip(&readings).skip(1) {
            let what = format!("creates at {replicas} replicas, against one");
            self.add_creates(&what, several, &readings[0])?;
        }
        Ok(())
    }

    fn prepare(&mut self, peer: Peer) -> anyhow::Result<Prepared> {
        let (name, url) = (&peer.name, &peer.url);
        let ids = peer.create_ids();
        let ids = ids.with_context(|| format!("cannot create and read users at {name} ({url})"))?;
        let ids = ids.map_err(|status| {
            let note = format!("{name} answers GET /users/{{id}} with {status}: no reads.");
            self.report.notes.push(note);
        });
        let ids = ids.ok();
        Ok((peer, ids))
    }

    /// Nobody can empty the tables of the peers, so that ours grows as theirs do.
    fn peers(&mut self, mut all: Vec<Prepared>) -> anyhow::Result<()> {
        let system = self.system(&Settings::default(), 1)?;
        self.clear()?;
        let ours = self.prepare(Peer::new("the gateway", &system.urls[0]))?;
        ensure!(ours.1.is_some(), "the gateway does not find its users");
        all.insert(0, ours);

        for (what, reads, connections, unit, of) in [
            ("creates at 1 connection: p50", false, 1, "ms", P50),
            ("creates: throughput", false, CONNECTIONS, "/s", THROUGHPUT),
            (
                "reads by id: throughput",
                true,
                CONNECTIONS,
                "/s",
                THROUGHPUT,
            ),
        ] {
            let able = all.iter().filter(|(_, ids)| ids.is_some() || !reads);
            let able: Vec<&Prepared> = able.collect();
            let readings = take_turns(self.args, &able, |(peer, ids)| {
                let ids = ids.as_ref().filter(|_| reads);
                peer.load(ids, connections, self.args.seconds)
            })?;
            let ours = values(&readings[0], of);
            for ((peer, _), theirs) in able.iter().zip(&readings).skip(1) {
                let what = format!("{what}, against {}", peer.name);
                self.table.add(&what, unit, &ours, &values(theirs, of))?;
            }
        }
        Ok(())
    }

    fn idle_connections(&mut self) -> anyhow::Result<()> {
        let count = self.args.idle;
        let mut each = Vec::new();
        for _ in 0..self.args.rounds {
            // Of its own, as memory that connections have left behind would serve those of the next round.
            let fresh = self.system(&Settings::default(), 1)?;
            let before = fresh.gateway_memory()?;
            let _held = fresh.idle_connections(count)?;
            #[expect(clippy::cast_precision_loss)]
            each.push((fresh.gateway_memory()? - before) * 1024.0 / count as f64);
        }
        let what = format!("one of {count} idle HTTP connections: memory of the gateway");
        self.table.add_figure(&what, "KiB", &each)
    }

    /// Adds both ratios of some creates.
    fn add_creates(
        &mut self,
        what: &str,
        readings: &[Done],
        against: &[Done],
    ) -> anyhow::Result<()> {
        for (name, unit, of) in [("throughput", "/s", THROUGHPUT), ("p99", "ms", P99)] {
            let (figures, against) = (values(readings, of), values(against, of));
            let what = format!("{what}: {name}");
            self.table.add(&what, unit, &figures, &against)?;
        }
        Ok(())
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut page = self.report.head()?;
        writeln!(
            page,
            "\nEvery ratio is the median of the ratios of the rounds, not the ratio of the medians beside it; the \
             last column has the lowest and the highest of them. Creates and reads are at {CONNECTIONS} \
             connections where nothing else is said. A peer has the table that it was started with.\n\n\
             | what | figure | against | ratio | of the rounds, lowest..highest |\n\
             | --- | --: | --: | --: | --: |\n{}",
            self.table.0.trim_end()
        )?;
        for note in &self.report.notes {
            writeln!(page, "\n{note}")?;
        }
        let folder = self.args.out.join("ratios");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("README.md"), page)?;
        eprintln!("written to {}", folder.display());
        Ok(())
    }
}

fn values<T>(readings: &[T], of: fn(&T) -> f64) -> Vec<f64> {
    readings.iter().map(of).collect()
}
