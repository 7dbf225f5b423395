//! Several users services behind one name: their load is balanced, and no request is lost when one dies,
//! hangs, comes or goes.

mod balance;
mod losses;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, slice};

use tempfile::TempDir;

use e2e::{
    Http, Outcome, Program, database, eventually, free_port, metrics, start_gateway, start_users,
    under_load,
};

const CLIENTS: usize = 16;
/// Threads of the gateway, each of which has its own link to each replica.
const WORKERS: usize = 2;
const NAME: &str = "users-svc.test";

/// A gateway, and replicas of the users service on 127.0.0.x behind one name.
struct Cluster {
    database: String,
    replicas: Vec<(u8, Program)>,
    port: u16,
    admin: u16,
    hosts: PathBuf,
    gateway: Program,
    http: Http,
    _dir: TempDir,
}

/// Answers for the name service, from a file that tests can change: https://cwrap.org.
fn nss_wrapper() -> PathBuf {
    let folders = Path::new("/usr/lib").read_dir().unwrap();
    folders
        .map(|folder| folder.unwrap().path().join("libnss_wrapper.so"))
        .find(|path| path.exists())
        .expect("there is no libnss_wrapper.so; on Debian: apt-get install libnss-wrapper")
}

impl Cluster {
    /// Starts replicas with these last numbers of their addresses.
    fn start(numbers: RangeInclusive<u8>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        fs::write(&hosts, "").unwrap();
        let (port, preload) = (free_port(), nss_wrapper());
        let settings = [
            ("WORKERS", &*WORKERS.to_string()),
            ("LD_PRELOAD", preload.to_str().unwrap()),
            ("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap()),
        ];
        let (gateway, http) = start_gateway(&format!("{NAME}:{port}"), &settings);

        let mut cluster = Self {
            database: database::fresh_database(),
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
        cluster.wait_for_links();
        cluster
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

    /// Waits until each thread of the gateway is connected to each replica.
    fn wait_for_links(&self) {
        let links = || self.gateway.output().matches("connected to").count();
        eventually("every thread has its links", || {
            links() >= self.replicas.len() * WORKERS
        });
    }

    /// Users that a replica has created.
    fn created(&self, number: u8) -> f64 {
        let admin = format!("127.0.0.{number}:{}", self.admin);
        let labels = ["rpc_method=\"createUser\"", "outcome=\"ok\""];
        metrics::value(&admin, "rpc_server_call_duration_seconds_count", &labels)
    }

    fn under_load(&self, prefix: &str, meanwhile: impl FnOnce()) -> Vec<Outcome> {
        under_load(slice::from_ref(&self.http), CLIENTS, prefix, meanwhile)
    }

    /// Every create succeeded, in its time, and left one row.
    fn assert_nothing_lost(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let log = || self.gateway.output();
            assert_eq!(outcome.status, 201, "{outcome:?}\n{}", log());
            assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
        }
        let rows = database::rows(&self.database);
        assert_eq!(rows, i64::try_from(outcomes.len()).unwrap());
    }
}
