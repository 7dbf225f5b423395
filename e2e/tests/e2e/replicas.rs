//! Several users services behind one name: balanced, and nothing is lost when one dies, hangs, comes
//! or goes.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use postgres_server::Server;
use tempfile::TempDir;

use crate::observed::value;
use e2e::{
    Http, Outcome, Program, binary, eventually, free_port, skipped, start_users, under_load,
};

const CLIENTS: usize = 16;
const WORKERS: usize = 2;
const NAME: &str = "users-svc.test";

/// A gateway, and replicas of the users service on 127.0.0.x behind one name.
struct Cluster {
    server: Server,
    database: String,
    replicas: Vec<(u8, Program)>,
    port: u16,
    admin: u16,
    hosts: PathBuf,
    gateway: Program,
    http: Http,
    _dir: TempDir,
}

/// What answers for the name service, from a file that tests can change: https://cwrap.org.
fn nss_wrapper() -> Option<PathBuf> {
    let found = Path::new("/usr/lib")
        .read_dir()
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("libnss_wrapper.so")))
        .find(|path| path.exists());
    if found.is_none() {
        skipped("libnss_wrapper.so is not there; on Debian: apt-get install libnss-wrapper");
    }
    found
}

impl Cluster {
    /// Starts replicas with these last numbers of their addresses. `None`: this machine lacks what it
    /// takes.
    fn start(numbers: RangeInclusive<u8>) -> Option<Self> {
        let preload = nss_wrapper()?;
        let server = Server::temporary().unwrap();
        let database = server.fresh_database().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        fs::write(&hosts, "").unwrap();
        let port = free_port();
        let users_addr = format!("{NAME}:{port}");
        let settings = [
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("WORKERS", &WORKERS.to_string()),
            ("USERS_ADDR", &users_addr),
            ("LD_PRELOAD", preload.to_str().unwrap()),
            ("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap()),
        ];
        let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
        let http = Http::new(gateway.addr().port());
        let mut cluster = Self {
            server,
            database,
            replicas: Vec::new(),
            port,
            admin: free_port(),
            hosts,
            gateway,
            http,
            _dir: dir,
        };
        for number in numbers {
            cluster.add(number);
        }
        cluster.publish();
        cluster.http.wait_until_ready();
        cluster.wait_for_links(cluster.replicas.len());
        Some(cluster)
    }

    fn add(&mut self, number: u8) {
        let addr = format!("127.0.0.{number}:{}", self.port);
        let admin = format!("127.0.0.{number}:{}", self.admin);
        let users = start_users(&addr, &self.database, &[("ADMIN_ADDR", &admin)]);
        self.replicas.push((number, users));
    }

    /// Makes the name stand for the replicas there are, as an orchestrator does.
    fn publish(&self) {
        let line = |(number, _): &(u8, _)| format!("127.0.0.{number} {NAME}\n");
        let lines: String = self.replicas.iter().map(line).collect();
        // In one step, as the file is read at any time.
        let new = self.hosts.with_extension("new");
        fs::write(&new, lines).unwrap();
        fs::rename(&new, &self.hosts).unwrap();
    }

    /// Waits until the gateway has linked up with so many replicas, and lost none since.
    fn wait_for_links(&self, replicas: usize) {
        let links = || self.gateway.output().matches("connected to").count();
        eventually("every thread has its links", || {
            links() >= replicas * WORKERS
        });
    }

    /// Users that each replica has created.
    fn created(&self, number: u8) -> f64 {
        let admin = format!("127.0.0.{number}:{}", self.admin);
        let labels = ["rpc_method=\"createUser\"", "outcome=\"ok\""];
        value(&admin, "rpc_server_call_duration_seconds_count", &labels)
    }

    fn under_load(&self, prefix: &str, meanwhile: impl FnOnce()) -> Vec<Outcome> {
        under_load(std::slice::from_ref(&self.http), CLIENTS, prefix, meanwhile)
    }

    /// Every create succeeded, in its time, and left one row.
    fn check(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            assert_eq!(
                outcome.status,
                201,
                "{outcome:?}\n{}",
                self.gateway.output()
            );
            assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
        }
        let mut sql = self
            .server
            .connect(self.database.rsplit('/').next().unwrap())
            .unwrap();
        let rows = sql.query_one("SELECT count(*) FROM users", &[]).unwrap();
        assert_eq!(
            rows.get::<_, i64>(0),
            i64::try_from(outcomes.len()).unwrap()
        );
    }
}

#[test]
fn load_spreads_evenly_and_follows_replicas_that_come_and_go() {
    let Some(mut cluster) = Cluster::start(11..=13) else {
        return;
    };
    let mut outcomes = cluster.under_load("even", || thread::sleep(Duration::from_secs(3)));
    let counts: Vec<f64> = (11..=13).map(|number| cluster.created(number)).collect();
    let even = counts.iter().sum::<f64>() / 3.0;
    println!("{counts:?}");
    assert!(even > 300.0, "{counts:?}");
    for count in &counts {
        assert!((count / even - 1.0).abs() < 0.1, "{counts:?}");
    }

    cluster.add(14);
    cluster.publish();
    let appeared = Instant::now();
    outcomes.extend(cluster.under_load("fourth", || {
        eventually("the fourth is in use", || cluster.created(14) > 0.0);
    }));
    println!("in use after {:?}", appeared.elapsed());
    assert!(appeared.elapsed() < Duration::from_secs(5));

    // Its address goes, as that of a pod that is about to end; it is not used any more, and then it
    // ends.
    let (_, mut first) = cluster.replicas.remove(0);
    cluster.publish();
    outcomes.extend(cluster.under_load("gone", || {
        thread::sleep(Duration::from_secs(4));
        let before = cluster.created(11);
        thread::sleep(Duration::from_secs(1));
        assert!(cluster.created(11) <= before);
        first.signal(Signal::SIGTERM);
        assert_eq!(first.ended().code(), Some(0));
    }));

    // A name server that has nothing to say changes nothing.
    fs::write(&cluster.hosts, "").unwrap();
    outcomes.extend(cluster.under_load("nameless", || thread::sleep(Duration::from_secs(4))));
    assert!(cluster.gateway.output().contains("cannot be looked up"));
    cluster.check(&outcomes);
}

#[test]
fn a_killed_replica_costs_no_request_and_no_duplicate() {
    let Some(cluster) = Cluster::start(21..=23) else {
        return;
    };
    let outcomes = cluster.under_load("killed", || {
        thread::sleep(Duration::from_secs(1));
        cluster.replicas[1].1.signal(Signal::SIGKILL);
        thread::sleep(Duration::from_secs(2));
    });
    cluster.check(&outcomes);
}

#[test]
fn a_frozen_replica_costs_no_request_and_little_of_the_rest() {
    let Some(cluster) = Cluster::start(31..=33) else {
        return;
    };
    let (calm, frozen) = (Duration::from_secs(2), Duration::from_secs(4));
    let begin = Instant::now();
    let mut stopped = begin;
    let outcomes = cluster.under_load("frozen", || {
        thread::sleep(calm);
        stopped = Instant::now();
        cluster.replicas[1].1.signal(Signal::SIGSTOP);
        thread::sleep(frozen);
        cluster.replicas[1].1.signal(Signal::SIGCONT);
    });
    let rate = |from: Instant, time: Duration| {
        let counted = outcomes
            .iter()
            .filter(|o| o.at >= from && o.at < from + time);
        f64::from(u32::try_from(counted.count()).unwrap()) / time.as_secs_f64()
    };
    let (before, during) = (rate(begin, stopped - begin), rate(stopped, frozen));
    let slowest = outcomes.iter().map(|o| o.took).max().unwrap();
    println!("{before:.0}/s before, {during:.0}/s while one is frozen, slowest {slowest:?}");
    assert!(during > before * 0.6, "{before} {during}");
    cluster.check(&outcomes);
}
