//! Three PostgreSQL servers under Patroni, and the etcd that knows which of them leads.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use postgres::{Client, NoTls};
use postgres_server::{Binaries, command, temporary_dir};
use tempfile::TempDir;
use uuid::Uuid;

use super::node::{Node, spawn};
use e2e::{eventually, eventually_within, free_addr, root};

const NODES: usize = 3;
/// Longer than Patroni's defaults need to replace a leader, on a busy machine.
const FAILOVER_LIMIT: Duration = Duration::from_secs(90);

/// When Patroni takes a leader for dead, in seconds (Patroni's documentation, "Dynamic Configuration Settings").
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Of the leader's key.
    pub ttl: u32,
    pub loop_wait: u32,
    pub retry_timeout: u32,
}

impl Timing {
    pub const DEFAULT: Self = Self {
        ttl: 30,
        loop_wait: 10,
        retry_timeout: 10,
    };
    /// With the least `ttl` that is allowed.
    pub const SHORT: Self = Self {
        ttl: 20,
        loop_wait: 5,
        retry_timeout: 5,
    };
}

/// The cluster. It ends when dropped, or with the thread that started it.
pub struct Cluster {
    nodes: Vec<Node>,
    etcd: Child,
    binaries: Binaries,
    password: String,
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster with a synchronous standby, and makes the database `users` with the running role.
    pub fn start(timing: Timing) -> Self {
        let dir = temporary_dir().unwrap();
        let [client, peer] = [free_addr(), free_addr()];
        let mut cluster = Self {
            nodes: Vec::new(),
            etcd: start_etcd(dir.path(), &client, &peer),
            binaries: Binaries::find(None).unwrap(),
            password: Uuid::new_v4().simple().to_string(),
            dir,
        };
        for number in 0..NODES {
            let node = cluster.configure(number, &client, timing);
            cluster.nodes.push(node);
            cluster.nodes[number].start();
        }

        cluster.wait_until_whole();
        cluster.make_database();
        cluster
    }

    fn configure(&self, number: usize, etcd: &str, timing: Timing) -> Node {
        let Timing {
            ttl,
            loop_wait,
            retry_timeout,
        } = timing;
        let [ttl, loop_wait, retry_timeout] =
            [ttl, loop_wait, retry_timeout].map(|seconds| seconds.to_string());
        let programs = self.binaries.program("");
        let settings = [
            ("{password}", &*self.password),
            ("{programs}", programs.to_str().unwrap()),
            ("{etcd}", etcd),
            ("{ttl}", &*ttl),
            ("{loop_wait}", &*loop_wait),
            ("{retry_timeout}", &*retry_timeout),
        ];
        let name = format!("node{number}");
        Node::new(self.dir.path().join(&name), &name, &settings)
    }

    /// The role of `deploy/postgres`, made as documented.
    fn make_database(&self) {
        let mut sql = Client::connect(&self.url("postgres"), NoTls).unwrap();
        sql.batch_execute("CREATE DATABASE users").unwrap();
        let script = root().join("deploy/postgres/users-svc-role.sql");
        // psql gives up at a standby that has not replayed the new database yet.
        eventually("the script has run", || {
            let mut psql = command(&self.binaries.program("psql")).unwrap();
            let psql = psql.args(["--quiet", &self.url("users"), "--file=-"]);
            psql.stdin(File::open(&script).unwrap());
            let status = psql.env("USERS_SVC_PASSWORD", "users_svc").status();
            status.unwrap().success()
        });
    }

    /// URL of a database for the superuser, on whichever server takes writes.
    pub fn url(&self, database: &str) -> String {
        let addrs: Vec<_> = self.nodes.iter().map(|node| &*node.addr).collect();
        format!(
            "postgres://postgres:{}@{}/{database}?target_session_attrs=read-write",
            self.password,
            addrs.join(",")
        )
    }

    /// Starts a node that was killed.
    pub fn start_node(&mut self, number: usize) {
        self.nodes[number].start();
    }

    /// The node that leads, as the nodes say.
    pub fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.is("primary"))
    }

    /// Waits until another node than this one leads.
    pub fn wait_until_replaced(&self, old: usize) {
        eventually_within(FAILOVER_LIMIT, "another node leads", || {
            self.nodes
                .iter()
                .enumerate()
                .any(|(number, node)| number != old && node.is("primary"))
        });
    }

    /// Waits until one node leads and the others replicate, one of them synchronously.
    pub fn wait_until_whole(&self) {
        eventually_within(FAILOVER_LIMIT, "all nodes are there", || {
            // Each question costs the node a query.
            thread::sleep(Duration::from_millis(200));
            let count = |role| self.nodes.iter().filter(|node| node.is(role)).count();
            count("primary") == 1 && count("replica") == NODES - 1 && count("synchronous") == 1
        });
    }

    /// Kills a node, as a crash of its machine would.
    pub fn kill_node(&mut self, number: usize) {
        self.nodes[number].end(Signal::SIGKILL);
    }

    /// Freezes a node, or lets it go on, as a hypervisor that moves its machine does.
    pub fn signal_node(&self, number: usize, signal: Signal) {
        self.nodes[number].signal(signal);
    }

    /// Has Patroni make another node the leader, as before maintenance.
    pub fn switch_over(&self) {
        let mut patronictl = command("patronictl".as_ref()).unwrap();
        let patronictl = patronictl.arg("-c").arg(self.nodes[0].config());
        let output = patronictl.args(["switchover", "--force"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Successfully switched over"), "{output:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if thread::panicking() {
                node.print_log();
            }
            node.signal(Signal::SIGCONT);
            node.end(Signal::SIGQUIT);
        }
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

fn start_etcd(dir: &Path, client: &str, peer: &str) -> Child {
    let [client, peer] = [client, peer].map(|addr| format!("http://{addr}"));
    let data = dir.join("etcd");
    let etcd = spawn(
        "etcd",
        &[
            &format!("--data-dir={}", data.display()),
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=default={peer}"),
        ],
        &dir.join("etcd.log"),
    );
    eventually("etcd is healthy", || {
        ureq::get(format!("{client}/health")).call().is_ok()
    });
    etcd
}
