//! Everything that runs in a chaos test, with a proxy on every link.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use std::{process::Command, thread};

use nix::sys::signal::Signal;
use postgres_server::Server;
use users_client::{ClientTls, UsersClient};

use e2e::{
    Http, Program, binary,
    database::{behind_proxy, for_running_role},
    free_addr, free_port,
    proxy::Proxy,
};

use super::DEADLINE;
use super::credentials::{ApiKeys, Tls};

/// Two users services, two gateways, PostgreSQL, and the links between them.
pub struct World {
    pub server: Mutex<Server>,
    pub database: String,
    pub users: [Service; 2],
    pub gateways: [Service; 2],
    https: [Http; 2],
    /// Of the users services themselves, without a proxy.
    pub users_addrs: [String; 2],
    pub rpc_links: [Proxy; 2],
    pub database_link: Proxy,
    /// Odd while a gateway is frozen: its clients wait longer than it would let them.
    freezes: AtomicUsize,
    /// Odd while clients share a few keys and addresses, in each storm others.
    storms: AtomicUsize,
    pub api_keys: ApiKeys,
    /// Of the links between gateways, or clients of the RPC, and users services. `None`: they are in plain text.
    pub tls: Option<Tls>,
}

/// A service that can be ended and started again with the same settings.
pub struct Service {
    name: &'static str,
    settings: Vec<(&'static str, String)>,
    program: Mutex<Program>,
}

impl World {
    pub fn start(has_tls: bool) -> Self {
        let server = Server::temporary().unwrap();
        let database = server.fresh_database().unwrap();
        let (database_link, proxied) = behind_proxy(&server, &database);
        let users_addrs = [free_addr(), free_addr()];
        let tls = has_tls.then(Tls::new);
        let users = users_addrs
            .each_ref()
            .map(|addr| users(addr, &proxied, tls.as_ref()));

        let rpc_links = users_addrs
            .each_ref()
            .map(|addr| Proxy::start(addr.parse().unwrap()));
        let [first, second] = rpc_links.each_ref().map(|link| link.addr.to_string());
        // One gateway has both replicas to choose from, the other only one.
        let both = format!("{first},{second}");
        let ports = [free_port(), free_port()];
        let api_keys = ApiKeys::new();
        let gateway = |port, addrs: &str| gateway(port, addrs, &api_keys.file(), tls.as_ref());
        let gateways = [gateway(ports[0], &both), gateway(ports[1], &second)];

        let world = Self {
            server: Mutex::new(server),
            database,
            users,
            gateways,
            https: ports.map(Http::new),
            users_addrs,
            rpc_links,
            database_link,
            freezes: AtomicUsize::new(0),
            storms: AtomicUsize::new(0),
            api_keys,
            tls,
        };
        world.wait_until_ready();
        world
    }

    /// Waits until all programs are ready, none of which may have ended by itself.
    pub fn wait_until_ready(&self) {
        for http in &self.https {
            http.wait_until_ready();
        }
        for service in self.users.iter().chain(&self.gateways) {
            drop(service.running());
        }
    }

    /// A client of a gateway, with the API key that is good now.
    pub fn http(&self, gateway: usize) -> Http {
        self.https[gateway].with_api_key(&self.api_keys.current())
    }

    /// Where both users services are reached, each by its proxy.
    fn endpoints(&self) -> String {
        let [first, second] = self.rpc_links.each_ref().map(|link| link.addr);
        format!("{first},{second}")
    }

    /// A client of the users services.
    pub fn rpc_client(&self) -> UsersClient {
        let endpoints = self.endpoints().parse().unwrap();
        let client = match &self.tls {
            None => UsersClient::connect(&endpoints),
            Some(tls) => {
                let tls = ClientTls::mutual(tls.client.credentials()).unwrap();
                UsersClient::connect_with_tls(&endpoints, tls)
            }
        };
        client.unwrap().timeout(DEADLINE)
    }

    /// The command line for the users services, without a command.
    pub fn users_cli(&self) -> Command {
        let mut users_cli = Command::new(binary("users-cli"));
        users_cli.args(["--users-addr", &self.endpoints()]);
        if let Some(tls) = &self.tls {
            users_cli.envs(tls.client.of_caller());
        }
        users_cli
    }

    /// Freezes a gateway for a while.
    pub fn freeze_gateway(&self, i: usize, time: Duration) {
        self.freezes.fetch_add(1, Ordering::SeqCst);
        self.gateways[i].freeze(time);
        self.freezes.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes when a gateway is frozen and when it goes on; odd while it is frozen.
    pub fn freezes(&self) -> usize {
        self.freezes.load(Ordering::SeqCst)
    }

    /// Has the clients collide for a while.
    pub fn storm_for(&self, time: Duration) {
        self.storms.fetch_add(1, Ordering::SeqCst);
        thread::sleep(time);
        self.storms.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of the storm that there is now.
    pub fn storm(&self) -> Option<usize> {
        let storms = self.storms.load(Ordering::SeqCst);
        (storms % 2 == 1).then_some(storms)
    }

    pub fn sql(&self) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.database, postgres::NoTls)
    }
}

fn users(addr: &str, database: &str, tls: Option<&Tls>) -> Service {
    let running = for_running_role(database).unwrap();
    let settings = [
        ("RPC_ADDR", addr),
        ("DATABASE_URL", &*running),
        ("DATABASE_MIGRATE_URL", database),
        ("MIGRATE_ON_START", "true"),
        ("DATABASE_TIMEOUT_MS", "800"),
    ];
    let tls = tls.map(|tls| tls.service.of_service());
    Service::start(
        "users-svc",
        &[&settings, tls.as_slice().as_flattened()].concat(),
    )
}

fn gateway(port: u16, users_addr: &str, api_keys: &Path, tls: Option<&Tls>) -> Service {
    let settings = [
        ("API_KEYS_FILE", api_keys.to_str().unwrap()),
        ("HTTP_ADDR", &*format!("127.0.0.1:{port}")),
        ("USERS_ADDR", users_addr),
        ("REQUEST_TIMEOUT_MS", &DEADLINE.as_millis().to_string()),
    ];
    let tls = tls.map(|tls| tls.gateway.of_caller());
    Service::start(
        "gateway",
        &[&settings, tls.as_slice().as_flattened()].concat(),
    )
}

impl Service {
    fn start(name: &'static str, settings: &[(&'static str, &str)]) -> Self {
        let common = [("DRAIN_TIMEOUT_MS", "3000"), ("RUST_LOG", "error")];
        let settings: Vec<_> = [settings, &common]
            .concat()
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        Self {
            program: Mutex::new(run(name, &settings)),
            name,
            settings,
        }
    }

    /// Ends it with `signal`, and starts it again.
    pub fn restart(&self, signal: Signal) {
        let mut program = self.running();
        program.signal(signal);
        program.ended();
        *program = run(self.name, &self.settings);
    }

    /// Stops it in its tracks for a while.
    pub fn freeze(&self, time: Duration) {
        let program = self.running();
        program.signal(Signal::SIGSTOP);
        thread::sleep(time);
        program.signal(Signal::SIGCONT);
    }

    /// The program, which has not ended by itself, whatever happened around it.
    fn running(&self) -> MutexGuard<'_, Program> {
        let mut program = self.program.lock().unwrap();
        program.assert_runs();
        program
    }
}

fn run(name: &str, settings: &[(&str, String)]) -> Program {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, &**v)).collect();
    Program::start(&binary(name), Path::new("/"), &settings)
}
