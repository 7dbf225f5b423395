//! The system under load: the release binaries of both services, and what the kernel knows of them.

use std::{
    collections::HashMap,
    env, fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use stack::postgres::Server;
use tempfile::NamedTempFile;

/// How long a service may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running gateway and users service on a database of their own.
pub struct System {
    gateway: Program,
    users: Program,
    database: String,
    server_url: String,
    /// `http://host:port` of the gateway.
    pub url: String,
    /// The ids of some users, a line each.
    pub ids: NamedTempFile,
    /// Time from the start of the service, and of the gateway, to ready.
    pub ready: (Duration, Duration),
}

/// CPU time used so far, in seconds.
#[derive(Debug)]
pub struct Cpu {
    pub gateway: f64,
    pub users: f64,
    /// Of each process of PostgreSQL.
    postgres: HashMap<PathBuf, f64>,
}

impl Cpu {
    /// What the processes of PostgreSQL that are there now have used since `before`.
    pub fn postgres_since(&self, before: &Self) -> f64 {
        let used = |(process, now): (_, &f64)| now - before.postgres.get(process).unwrap_or(&0.0);
        self.postgres.iter().map(used).sum()
    }
}

impl System {
    /// Starts both services on the database `name` of `server`, and waits until they are ready.
    pub fn start(server: &Server, name: &str, workers: usize) -> anyhow::Result<Self> {
        let server_url = server.ensure_database(name)?;
        let (http, rpc) = (free_addr()?, free_addr()?);
        let workers = workers.to_string();
        let migrated = Program::command("users-svc")?
            .arg("migrate")
            .env("DATABASE_URL", &server_url)
            .stderr(Stdio::null())
            .status()?;
        ensure!(migrated.success(), "users-svc migrate failed");
        // As they are deployed: a log line per request, into a file, and metrics.
        let (users_admin, gateway_admin) = (free_addr()?, free_addr()?);
        let common = [("WORKERS", workers.as_str())];
        let users = [
            ("RPC_ADDR", rpc.as_str()),
            ("DATABASE_URL", &server_url),
            ("ADMIN_ADDR", &users_admin),
        ];
        let gateway = [
            ("HTTP_ADDR", http.as_str()),
            ("USERS_ADDR", &rpc),
            ("ADMIN_ADDR", &gateway_admin),
        ];
        let (users, users_ready) = Program::start("users-svc", &[&common[..], &users].concat())?;
        let (gateway, gateway_ready) =
            Program::start("gateway", &[&common[..], &gateway].concat())?;
        Ok(Self {
            gateway,
            users,
            database: name.to_owned(),
            server_url,
            url: format!("http://{http}"),
            ids: NamedTempFile::new()?,
            ready: (users_ready, gateway_ready),
        })
    }

    /// Stores some users to be read.
    pub fn create_ids(&self) -> anyhow::Result<()> {
        let mut client = postgres_client(&self.server_url)?;
        let rows = client.query(
            "INSERT INTO users SELECT gen_random_uuid(), 'read' || i || '@example.com', 'User ' || i \
             FROM generate_series(1, 10000) AS i RETURNING id::text",
            &[],
        )?;
        let mut file = self.ids.reopen()?;
        for row in rows {
            writeln!(file, "{}", row.try_get::<_, String>(0)?)?;
        }
        Ok(())
    }

    /// The database it uses.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What both services, and every PostgreSQL of this machine, have used.
    pub fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut postgres = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            // Processes come and go while we look.
            if fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "postgres\n") {
                postgres.insert(path.clone(), cpu_seconds(&path).unwrap_or_default());
            }
        }
        Ok(Cpu {
            gateway: cpu_seconds(&self.gateway.proc())?,
            users: cpu_seconds(&self.users.proc())?,
            postgres,
        })
    }

    /// Forgets the peak of memory so far.
    pub fn reset_memory_peak(&self) -> anyhow::Result<()> {
        for program in [&self.gateway, &self.users] {
            fs::write(program.proc().join("clear_refs"), "5")?;
        }
        Ok(())
    }

    /// Peak resident memory of both services together, in MiB.
    pub fn memory_peak(&self) -> anyhow::Result<f64> {
        Ok(self.gateway.memory("VmHWM")? + self.users.memory("VmHWM")?)
    }

    /// Resident memory of both services, in MiB, while `count` connections to the gateway rest after
    /// one request each.
    pub fn memory_with_idle_connections(&self, count: usize) -> anyhow::Result<f64> {
        let addr = self.url.trim_start_matches("http://");
        let mut held = Vec::with_capacity(count);
        for n in 0..count {
            let mut stream = TcpStream::connect(addr)
                .with_context(|| format!("connection {n} of {count} was refused"))?;
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n")?;
            let mut answer = [0; 512];
            let length = stream.read(&mut answer)?;
            ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "not 200");
            held.push(stream);
        }
        Ok(self.gateway.memory("VmRSS")? + self.users.memory("VmRSS")?)
    }
}

/// A connection of our own, not through the services.
fn postgres_client(url: &str) -> anyhow::Result<postgres::Client> {
    Ok(postgres::Client::connect(url, postgres::NoTls)?)
}

/// A service's process. Killed when dropped.
struct Program(Child);

impl Program {
    fn command(name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(env::current_exe()?.with_file_name(name));
        command.current_dir("/").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it, and tells how long it took until its healthcheck succeeded.
    fn start(name: &str, settings: &[(&str, &str)]) -> anyhow::Result<(Self, Duration)> {
        let begin = Instant::now();
        let started = Self::command(name)?
            .envs(settings.iter().copied())
            .stderr(tempfile::tempfile()?)
            .spawn();
        let started = Self(started.with_context(|| format!("cannot start {name}"))?);
        loop {
            let check = Self::command(name)?
                .arg("healthcheck")
                .envs(settings.iter().copied())
                .stderr(Stdio::null())
                .status()?;
            if check.success() {
                return Ok((started, begin.elapsed()));
            }
            ensure!(begin.elapsed() < START_TIMEOUT, "{name} is not ready");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string())
    }

    /// A line of `/proc/<pid>/status`, in MiB.
    fn memory(&self, key: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(self.proc().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("no such line")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a process (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_seconds(proc: &Path) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(proc.join("stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|t| t.parse().unwrap_or(0.0)).sum();
    Ok(ticks / 100.0)
}

fn free_addr() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
