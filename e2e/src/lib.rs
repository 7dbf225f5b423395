//! What tests of the whole system start: the real binaries on a real PostgreSQL, and a client that is
//! not ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    missing_docs
)]

pub mod proxy;

use std::{
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres_server::{Server, ports};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A service's binary, built now: cargo builds by itself only those of this package.
pub fn binary(package: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let build = escargot::CargoBuild::new().manifest_path(root().join("Cargo.toml"));
        let build = build.args([
            "--package",
            "gateway",
            "--package",
            "users-svc",
            "--package",
            "stack",
            "--package",
            "users-cli",
            // As the images are built.
            "--features",
            "gateway/otlp,users-svc/otlp",
        ]);
        // <target>/<profile>/deps/<test>
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let build = build.arg("--bins").target_dir(profile.parent().unwrap());
        let build = if cfg!(debug_assertions) {
            build
        } else {
            build.release()
        };
        for message in build.exec().unwrap() {
            message.unwrap();
        }
        profile.to_owned()
    });
    built.join(package)
}

/// A running program. Killed when dropped, if it has not ended before.
pub struct Program {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Program {
    /// Starts a program with `settings` as its only environment, in the folder `dir`.
    pub fn start(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut started = Self::start_unread(program, dir, settings);
        let Self { child, output, .. } = &mut started;
        collect(child.stdout.take().unwrap(), output.clone());
        collect(child.stderr.take().unwrap(), output.clone());
        started
    }

    /// The same, but its output has no reader.
    pub fn start_unread(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let child = Command::new(program)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            output: Arc::default(),
        }
    }

    /// Starts what a line of shell makes of it.
    pub fn start_shell(script: &str, settings: &[(&str, &str)]) -> Self {
        let child = Command::new("sh")
            .args(["-c", script])
            .current_dir("/")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut started = Self {
            child: child.unwrap(),
            output: Arc::default(),
        };
        collect(started.child.stderr.take().unwrap(), started.output.clone());
        started
    }

    /// Closes the other ends of its standard output and standard error.
    pub fn close_output(&mut self) {
        drop((self.child.stdout.take(), self.child.stderr.take()));
    }

    /// What it has written so far, on standard output and standard error.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it writes a line with `text`, and returns the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut end = Instant::now() + Duration::from_secs(30);
        loop {
            if self.child.try_wait().unwrap().is_some() {
                // What it said last may still be on its way.
                end = end.min(Instant::now() + Duration::from_secs(1));
            }
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no {text:?} in:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address it says it listens on.
    pub fn addr(&mut self) -> SocketAddr {
        let line = self.wait_for("listening");
        // addr=… in text, "addr":"…" in JSON.
        let after = line.split("addr").nth(1).unwrap();
        let addr = after.trim_start_matches(['=', '"', ':']);
        let addr = addr.split([' ', '"']).next().unwrap();
        addr.parse().unwrap()
    }

    /// The most memory it has had, in MB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
        if signal == Signal::SIGSTOP {
            // It may run on until the thread that got the signal has a processor.
            eventually("all of its threads are stopped", || all_stopped(pid));
        }
    }

    /// Waits until it ends.
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether all threads of a process are stopped (proc(5), the third field of `stat`).
fn all_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stopped = |stat: &str| stat.rsplit(") ").next().unwrap().starts_with('T');
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .all(|stat| stopped(&stat))
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            *output.lock().unwrap() += &(line + "\n");
        }
    });
}

/// Both services and their database, ready.
pub struct System {
    pub gateway: Program,
    pub users: Program,
    pub users_addr: SocketAddr,
    pub http: Http,
    pub server: Server,
    pub database: String,
}

impl System {
    pub fn start() -> Self {
        let server = Server::temporary().unwrap();
        let database = server.fresh_database().unwrap();
        Self::start_on(server, &database, &[], &[])
    }

    /// A system on a given database, with more settings of the users service and of the gateway.
    pub fn start_on(
        server: Server,
        database: &str,
        more_users: &[(&str, &str)],
        more_gateway: &[(&str, &str)],
    ) -> Self {
        let settings = [
            ("DATABASE_URL", database),
            ("RPC_ADDR", "127.0.0.1:0"),
            ("MIGRATE_ON_START", "true"),
        ];
        let settings = [&settings[..], more_users].concat();
        let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
        let users_addr = users.addr();
        let users_text = users_addr.to_string();
        let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &users_text)];
        let settings = [&settings[..], more_gateway].concat();
        let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
        let http = Http::new(gateway.addr().port());
        http.wait_until_ready();
        Self {
            gateway,
            users,
            users_addr,
            http,
            server,
            database: database.to_owned(),
        }
    }

    pub fn sql(&self) -> postgres::Client {
        postgres::Client::connect(&self.database, postgres::NoTls).unwrap()
    }

    pub fn rows(&self) -> i64 {
        let mut sql = postgres::Client::connect(&self.database, postgres::NoTls).unwrap();
        sql.query_one("SELECT count(*) FROM users", &[])
            .unwrap()
            .get(0)
    }
}

/// An HTTP client of a gateway.
#[derive(Clone)]
pub struct Http {
    agent: ureq::Agent,
    pub base: String,
}

pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: serde_json::Value,
}

impl Http {
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let config = config.timeout_global(Some(Duration::from_secs(20)));
        Self {
            agent: config.build().into(),
            base: format!("http://localhost:{port}"),
        }
    }

    pub fn port(&self) -> u16 {
        self.base.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn create(&self, email: &str, name: &str) -> Answer {
        let body = serde_json::json!({ "email": email, "name": name });
        Answer::from(
            self.agent
                .post(format!("{}/users", self.base))
                .send_json(body),
        )
    }

    /// The same with an `Idempotency-Key`; fails when the connection does.
    pub fn try_create(
        &self,
        email: &str,
        name: &str,
        key: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(format!("{}/users", self.base));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        Answer::try_from(request.send_json(serde_json::json!({ "email": email, "name": name })))
    }

    pub fn get(&self, path: &str) -> Answer {
        Answer::from(self.agent.get(format!("{}{path}", self.base)).call())
    }

    pub fn wait_until_ready(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self
            .agent
            .get(format!("{}/readyz", self.base))
            .call()
            .is_ok_and(|r| r.status() == 200)
        {
            assert!(Instant::now() < end, "the system does not become ready");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Answer {
    fn from(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Self {
        Self::try_from(response).unwrap()
    }

    fn try_from(
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Self, ureq::Error> {
        let mut response = response?;
        let location = response.headers().get("location");
        Ok(Self {
            status: response.status().as_u16(),
            location: location.map(|value| value.to_str().unwrap().to_owned()),
            body: response.body_mut().read_json()?,
        })
    }
}

/// What became of one create of [`under_load`].
#[derive(Debug)]
pub struct Outcome {
    /// Of the user that it was to create.
    pub email: String,
    /// 0: no gateway took the connection.
    pub status: u16,
    pub at: Instant,
    pub took: Duration,
}

/// Creates users from `clients` clients while `meanwhile` runs. Each client asks the gateways in turn,
/// and the other when one refuses the connection, as a balancer would. Returns what became of all.
pub fn under_load(
    gateways: &[Http],
    clients: usize,
    prefix: &str,
    meanwhile: impl FnOnce(),
) -> Vec<Outcome> {
    let (stop, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        let mut outcomes = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = number.fetch_add(1, Ordering::Relaxed);
            let email = format!("{prefix}{n}@example.com");
            let key = format!("{prefix}-{n}");
            let begin = Instant::now();
            let answer = (0..gateways.len()).find_map(|turn| {
                let gateway = &gateways[(n + turn) % gateways.len()];
                gateway.try_create(&email, "A", Some(&key)).ok()
            });
            outcomes.push(Outcome {
                email,
                status: answer.map_or(0, |answer| answer.status),
                at: Instant::now(),
                took: begin.elapsed(),
            });
        }
        outcomes
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        thread::sleep(Duration::from_millis(300));
        meanwhile();
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let joined = clients.into_iter().map(|client| client.join().unwrap());
        joined.flatten().collect()
    })
}

/// A port that is free on every address of this machine.
pub fn free_port() -> u16 {
    ports::free_port().unwrap()
}

/// The same with the address, which is 127.0.0.1.
pub fn free_addr() -> String {
    ports::free_addr().unwrap().to_string()
}

/// A users service on `addr`, once it is ready, as an orchestrator would wait for it.
pub fn start_users(addr: &str, database: &str, more: &[(&str, &str)]) -> Program {
    let settings = [
        ("RPC_ADDR", addr),
        ("DATABASE_URL", database),
        ("MIGRATE_ON_START", "true"),
    ];
    let settings = [&settings[..], more].concat();
    let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
    users.addr();
    let ready = || {
        let mut check = Command::new(binary("users-svc"));
        let check = check.arg("healthcheck").env("RPC_ADDR", addr);
        check.stderr(Stdio::null()).status().unwrap().success()
    };
    eventually("a users service is ready", ready);
    users
}

/// Notes that a test cannot run on this machine; where everything must run, that is a failure.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// Waits until something holds, and fails when it takes too long.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
