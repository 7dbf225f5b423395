//! Several users services behind one name: their load is balanced, and no request is lost when one dies,
//! hangs, comes or goes.

mod balance;
mod losses;
mod rollout;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, slice};

use tempfile::TempDir;

use e2e::{
    Http, Outcome, Program, admin, database, eventually, free_addr, free_port, start_gateway,
    start_users, under_load,
};

const CLIENTS: usize = 16;
/// Threads of the gateway, each of which has its own link to each replica.
const WORKERS: usize = 2;
const NAME: &str = "users-svc.test";

type Settings = &'static [(&'static str, &'static str)];

/// A gateway, and replicas of the users service on 127.0.0.x behind one name.
struct Cluster {
    database: String,
    /// Of the replicas.
    settings: Settings,
    replicas: Vec<(u8, Program)>,
    port: u16,
    admin: u16,
    hosts: PathBuf,
    gateway: Program,
    gateway_admin: String,
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
        Self::start_with(numbers, &[])
    }

    /// The same with more settings of each replica.
    fn start_with(numbers: RangeInclusive<u8>, settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        fs::write(&hosts, "").unwrap();
        let (port, preload, gateway_admin) = (free_port(), nss_wrapper(), free_addr());
        let of_gateway = [
            ("WORKERS", &*WORKERS.to_string()),
            ("ADMIN_ADDR", &gateway_admin),
            ("LD_PRELOAD", preload.to_str().unwrap()),
            ("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap()),
        ];
        let (gateway, http) = start_gateway(&format!("{NAME}:{port}"), &of_gateway);

        let mut cluster = Self {
            database: database::fresh_database(),
            settings,
            replicas: Vec::new(),
            port,
            admin: free_port(),
            hosts,
            gateway,
            gateway_admin,
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
        let settings = [&[("ADMIN_ADDR", &*admin)], self.settings].concat();
        let users = start_users(&addr, &self.database, &settings);
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
        let wanted = f64::from(u32::try_from(self.replicas.len() * WORKERS).unwrap());
        let links = || admin::value(&self.gateway_admin, "rpc_client_links_up", &[]);
        eventually("every thread has its links", || links() >= wanted);
    }

    /// Users that a replica has created.
    fn created(&self, number: u8) -> f64 {
        let admin = format!("127.0.0.{number}:{}", self.admin);
        let labels = ["rpc_method=\"createUser\"", "outcome=\"ok\""];
        admin::value(&admin, "rpc_server_call_duration_seconds_count", &labels)
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
