//! The results: a page with the machine and the tables, the same as CSV, and two plots.

use std::{fmt::Write as _, fs, ops::Range, path::Path, process::Command, time::Duration};

use postgres_server::Server;

use crate::Args;
use crate::load::{Load, Reading};
use crate::plot::{Line, plot};
use crate::rounds::median;

/// All that a run found out.
pub struct Report {
    /// A line for each thing that the figures depend on.
    machine: Vec<String>,
    rows: Vec<Row>,
    /// Time to ready of the users service and of the gateway.
    pub ready: (Duration, Duration),
    /// MiB of both services with idle connections.
    pub idle: Option<f64>,
    idle_connections: usize,
    /// Whether there are plots, over the numbers of connections.
    plotted: bool,
    /// Further lines for the page.
    pub notes: Vec<String>,
}

/// Medians of a load at a number of connections.
struct Row {
    load: String,
    connections: usize,
    median: Reading,
    /// Lowest and highest throughput of the rounds.
    range: Range<f64>,
}

impl Report {
    pub fn new(args: &Args, server: &Server) -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let value = |text: &str, key: &str| -> String {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let machine = vec![
            format!(
                "{} x {}, {} of memory, {}",
                cpuinfo.matches("processor\t").count(),
                value(&cpuinfo, "model name"),
                value(&meminfo, "MemTotal"),
                said("uname", &["-sr"]),
            ),
            format!(
                "{}, its defaults (fsync and synchronous_commit on), {}, {}",
                server.version(),
                said("rustc", &["--version"]),
                said("wrk", &["-v"]).split(" [").next().unwrap_or_default(),
            ),
            format!(
                "{} in each service; wrk (1 thread), the services and PostgreSQL share the machine",
                if args.ratios {
                    "default settings".to_owned()
                } else {
                    format!("{} worker thread(s)", args.workers)
                }
            ),
            format!(
                "medians of {} rounds of {} s after {} to warm up; the loads take turns in each round",
                args.rounds, args.seconds, args.warm_up
            ),
            format!(
                "commit {}",
                said("git", &["describe", "--always", "--dirty"])
            ),
        ];
        Ok(Self {
            machine,
            rows: Vec::new(),
            ready: Default::default(),
            idle: None,
            idle_connections: args.idle,
            plotted: !args.scale,
            notes: Vec::new(),
        })
    }

    /// Adds what the rounds of a load came to.
    pub fn add(
        &mut self,
        load: &str,
        connections: usize,
        readings: &[Reading],
    ) -> anyhow::Result<()> {
        let median = |of: fn(&Reading) -> f64| median(&readings.iter().map(of).collect::<Vec<_>>());
        let per_second = |worst: f64, best: fn(f64, f64) -> f64| {
            readings.iter().map(|r| r.per_second).fold(worst, best)
        };
        let row = Row {
            load: load.to_owned(),
            connections,
            median: Reading {
                per_second: median(|r| r.per_second)?,
                p50_ms: median(|r| r.p50_ms)?,
                p99_ms: median(|r| r.p99_ms)?,
                gateway_us: median(|r| r.gateway_us)?,
                users_us: median(|r| r.users_us)?,
                postgres_us: median(|r| r.postgres_us)?,
                memory: median(|r| r.memory)?,
                errors: readings.iter().map(|r| r.errors).sum(),
            },
            range: per_second(f64::INFINITY, f64::min)..per_second(0.0, f64::max),
        };
        eprintln!("{}", row.line());
        self.rows.push(row);
        Ok(())
    }

    /// Writes everything into `folder`.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("README.md"), self.page()?)?;
        fs::write(folder.join("results.csv"), self.csv()?)?;
        if !self.plotted {
            return Ok(());
        }
        let throughput = self.lines(|reading| reading.per_second);
        plot(&folder.join("throughput.svg"), "per second", &throughput)?;
        let latency = self.lines(|reading| reading.p50_ms);
        plot(&folder.join("latency.svg"), "median latency, ms", &latency)?;
        eprintln!("written to {}", folder.display());
        Ok(())
    }

    /// A line to plot for each load: a value over the numbers of connections.
    fn lines(&self, value: fn(&Reading) -> f64) -> Vec<Line<'static>> {
        let line = |load: Load| {
            let rows = self.rows.iter().filter(|row| row.load == load.name());
            #[expect(clippy::cast_precision_loss)]
            let points = rows.map(|row| (row.connections as f64, value(&row.median)));
            Line {
                name: load.name(),
                points: points.collect(),
            }
        };
        Load::ALL.map(line).into()
    }

    /// How every page of results begins.
    pub fn head(&self) -> anyhow::Result<String> {
        let mut page = String::from("# Results\n\nWritten by `bench/run`.\n\n");
        for line in &self.machine {
            writeln!(page, "- {line}")?;
        }
        Ok(page)
    }

    fn page(&self) -> anyhow::Result<String> {
        let mut page = self.head()?;
        page.push_str(
            "\n`create`: POST /users; `get`: GET /users/{id}; `HTTP floor`: GET /livez, which the gateway \
             answers by itself; `INSERT per commit`: pgbench with at most 64 clients, and its average \
             latency for p50. CPU in us per request; memory: peak of both services.\n\n\
             | load | connections | per second | lowest..highest | p50 ms | p99 ms | gateway us | users-svc us \
             | PostgreSQL us | MiB | errors |\n\
             | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n",
        );
        for row in &self.rows {
            writeln!(page, "{}", row.line())?;
        }
        for note in &self.notes {
            writeln!(page, "\n{note}")?;
        }
        if !self.plotted {
            return Ok(page);
        }
        let (users, gateway) = self.ready;
        writeln!(
            page,
            "\nStart to ready, with the database up: users-svc {} ms, gateway {} ms (asked by `healthcheck`).",
            users.as_millis(),
            gateway.as_millis()
        )?;
        if let Some(memory) = self.idle {
            let count = self.idle_connections;
            writeln!(page, "\n{count} idle connections: {memory:.0} MiB.")?;
        }
        page.push_str("\n![throughput](throughput.svg)\n\n![latency](latency.svg)\n");
        Ok(page)
    }

    fn csv(&self) -> anyhow::Result<String> {
        let mut csv = String::from(
            "load,connections,per_second,p50_ms,p99_ms,gateway_us,users_us,postgres_us,memory_mib,errors\n",
        );
        for Row {
            load,
            connections,
            median: m,
            ..
        } in &self.rows
        {
            writeln!(
                csv,
                "{load},{connections},{:.1},{:.3},{:.3},{:.1},{:.1},{:.1},{:.1},{}",
                m.per_second,
                m.p50_ms,
                m.p99_ms,
                m.gateway_us,
                m.users_us,
                m.postgres_us,
                m.memory,
                m.errors
            )?;
        }
        Ok(csv)
    }
}

impl Row {
    /// A line of the table.
    fn line(&self) -> String {
        let m = &self.median;
        let known = |value: f64, decimals| {
            if value.is_nan() {
                String::new()
            } else {
                format!("{value:.decimals$}")
            }
        };
        format!(
            "| {} | {} | {:.0} | {:.0}..{:.0} | {:.2} | {} | {:.1} | {:.1} | {} | {:.1} | {} |",
            self.load,
            self.connections,
            m.per_second,
            self.range.start,
            self.range.end,
            m.p50_ms,
            known(m.p99_ms, 2),
            m.gateway_us,
            m.users_us,
            known(m.postgres_us, 1),
            m.memory,
            m.errors
        )
    }
}

/// What a program says on standard output, in one line.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
