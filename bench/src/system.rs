//! The system under load: the release binaries of both services, and what the kernel knows of them.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, ensure};
use credentials::generate::Authority;
use postgres_server::{Server, ports::free_addr};
use tempfile::NamedTempFile;

use crate::program::{Program, cpu_seconds, memory};

/// Settings of the services besides addresses and database. Others have their defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    users: Vec<(&'static str, String)>,
    gateway: Vec<(&'static str, String)>,
}

impl Settings {
    /// So many threads in each service.
    pub fn workers(count: usize) -> Self {
        let workers = vec![("WORKERS", count.to_string())];
        Self {
            users: workers.clone(),
            gateway: workers,
        }
    }

    /// Mutual TLS between the services, with files that are made in `folder`.
    pub fn mutual_tls(folder: &Path) -> anyhow::Result<Self> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let authority = Authority::new("the benchmark's CA", DAY)?;
        // Either end can show it: the users service is at this address.
        let issued = authority.issue(&["127.0.0.1"], DAY)?;
        let file = |name: &str, text: String| -> anyhow::Result<String> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let cert = file("tls.crt", issued.cert)?;
        let key = file("tls.key", issued.key)?;
        let ca = file("ca.crt", authority.cert)?;
        Ok(Self {
            users: vec![
                ("RPC_TLS_CERT", cert.clone()),
                ("RPC_TLS_KEY", key.clone()),
                ("RPC_TLS_CA", ca.clone()),
            ],
            gateway: vec![
                ("USERS_TLS_CERT", cert),
                ("USERS_TLS_KEY", key),
                ("USERS_TLS_CA", ca),
            ],
        })
    }
}

/// Running gateways and users services on a database of their own.
pub struct System {
    gateways: Vec<Program>,
    users: Vec<Program>,
    database: String,
    server_url: String,
    /// `http://host:port` of each gateway.
    pub urls: Vec<String>,
    /// Where the first users service listens.
    pub rpc_port: u16,
    /// The ids of some users, a line each.
    pub ids: NamedTempFile,
    /// Time from the start of the last service, and of the last gateway, to ready.
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
    /// Starts one of both services on the database `name` of `server`, and waits until they are ready.
    pub fn start(server: &Server, name: &str, settings: &Settings) -> anyhow::Result<Self> {
        Self::start_many(server, name, settings, 1, 1)
    }

    /// The same with several of each.
    pub fn start_many(
        server: &Server,
        name: &str,
        settings: &Settings,
        gateways: usize,
        replicas: usize,
    ) -> anyhow::Result<Self> {
        let server_url = server.ensure_database(name)?;
        let migrated = Program::command("users-svc")?
            .arg("migrate")
            .env("DATABASE_URL", &server_url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(migrated.success(), "users-svc migrate failed");
        let mut system = Self {
            gateways: Vec::new(),
            users: Vec::new(),
            database: name.to_owned(),
            server_url,
            urls: Vec::new(),
            rpc_port: 0,
            ids: NamedTempFile::new()?,
            ready: Default::default(),
        };
        let mut addrs = Vec::new();
        for _ in 0..replicas {
            addrs.push(system.add_users(settings)?);
        }
        system.rpc_port = addrs.first().context("no replica")?.port();
        let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        for _ in 0..gateways {
            system.add_gateway(settings, addrs.join(","))?;
        }
        Ok(system)
    }

    /// Starts a users service as it is deployed: with a log line per request, into a file, and metrics.
    fn add_users(&mut self, settings: &Settings) -> anyhow::Result<SocketAddr> {
        let rpc = free_addr()?;
        let mut settings = settings.users.clone();
        settings.extend([
            ("RPC_ADDR", rpc.to_string()),
            ("DATABASE_URL", self.server_url.clone()),
            ("ADMIN_ADDR", free_addr()?.to_string()),
        ]);
        let (users, ready) = Program::start("users-svc", &settings)?;
        self.users.push(users);
        self.ready.0 = ready;
        Ok(rpc)
    }

    /// The same for a gateway of the users services at `users_addr`.
    fn add_gateway(&mut self, settings: &Settings, users_addr: String) -> anyhow::Result<()> {
        let http = free_addr()?.to_string();
        let mut settings = settings.gateway.clone();
        settings.extend([
            ("HTTP_ADDR", http.clone()),
            ("USERS_ADDR", users_addr),
            ("ADMIN_ADDR", free_addr()?.to_string()),
        ]);
        let (gateway, ready) = Program::start("gateway", &settings)?;
        self.gateways.push(gateway);
        self.ready.1 = ready;
        self.urls.push(format!("http://{http}"));
        Ok(())
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.gateways.iter().chain(&self.users)
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
        let all = |programs: &[Program]| -> anyhow::Result<f64> {
            programs.iter().map(|p| cpu_seconds(&p.proc())).sum()
        };
        Ok(Cpu {
            gateway: all(&self.gateways)?,
            users: all(&self.users)?,
            postgres,
        })
    }

    /// Forgets the peak of memory so far.
    pub fn reset_memory_peak(&self) -> anyhow::Result<()> {
        for program in self.programs() {
            fs::write(program.proc().join("clear_refs"), "5")?;
        }
        Ok(())
    }

    /// Peak resident memory of all services together, in MiB.
    pub fn memory_peak(&self) -> anyhow::Result<f64> {
        self.programs().map(|p| memory(&p.proc(), "VmHWM")).sum()
    }

    /// How much all services have written to their logs.
    pub fn log_bytes(&self) -> anyhow::Result<i64> {
        let length = |p: &Program| -> anyhow::Result<i64> {
            // The file has no name any more.
            Ok(fs::metadata(p.proc().join("fd/2"))?.len().try_into()?)
        };
        self.programs().map(length).sum()
    }

    /// Resident memory of both services, in MiB.
    pub fn memory(&self) -> anyhow::Result<f64> {
        self.programs().map(|p| memory(&p.proc(), "VmRSS")).sum()
    }

    /// Resident memory of the gateways, in MiB.
    pub fn gateway_memory(&self) -> anyhow::Result<f64> {
        let all = self.gateways.iter();
        all.map(|p| memory(&p.proc(), "VmRSS")).sum()
    }

    /// Opens `count` connections to the gateway, which rest after one request each.
    pub fn idle_connections(&self, count: usize) -> anyhow::Result<Vec<TcpStream>> {
        let addr = self.urls[0].trim_start_matches("http://");
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
        // Until the gateway has given back the buffers of the last of them.
        thread::sleep(Duration::from_secs(2));
        Ok(held)
    }
}

/// A connection of our own, not through the services.
fn postgres_client(url: &str) -> anyhow::Result<postgres::Client> {
    Ok(postgres::Client::connect(url, postgres::NoTls)?)
}
