//! Both services, started in the way that an orchestrator does.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Http, Program, binary, database, eventually};

/// Both services on one database, ready.
pub struct System {
    pub gateway: Program,
    pub users: Program,
    pub users_addr: SocketAddr,
    pub http: Http,
    pub database: String,
}

impl System {
    /// A system on a database of its own.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// The same with more settings of the users service and of the gateway.
    pub fn start_with(more_users: &[(&str, &str)], more_gateway: &[(&str, &str)]) -> Self {
        Self::start_on(&database::fresh_database(), more_users, more_gateway)
    }

    /// A system on a given database.
    pub fn start_on(
        database: &str,
        more_users: &[(&str, &str)],
        more_gateway: &[(&str, &str)],
    ) -> Self {
        let mut users = spawn_users("127.0.0.1:0", database, more_users);
        let users_addr = users.addr();
        let (gateway, http) = start_gateway(&users_addr.to_string(), more_gateway);
        http.wait_until_ready();
        Self {
            gateway,
            users,
            users_addr,
            http,
            database: database.to_owned(),
        }
    }

    pub fn sql(&self) -> postgres::Client {
        database::connect(&self.database)
    }

    pub fn rows(&self) -> i64 {
        database::rows(&self.database)
    }
}

/// A users service on `addr`, which may not be ready yet. It migrates the database as the role of `database`,
/// and runs as one that may do no more than it must, so that every test shows that this is enough.
pub fn spawn_users(addr: &str, database: &str, more: &[(&str, &str)]) -> Program {
    let running = database::for_running_role(database);
    let settings = [
        ("RPC_ADDR", addr),
        ("DATABASE_URL", running.as_deref().unwrap_or(database)),
        ("DATABASE_MIGRATE_URL", database),
        ("MIGRATE_ON_START", "true"),
    ];
    let settings = [&settings[..], more].concat();
    Program::start(&binary("users-svc"), Path::new("/"), &settings)
}

/// A users service on `addr`, once it is ready, as an orchestrator would wait for it.
pub fn start_users(addr: &str, database: &str, more: &[(&str, &str)]) -> Program {
    let mut users = spawn_users(addr, database, more);
    users.addr();
    eventually("a users service is ready", || {
        healthcheck("users-svc", "RPC_ADDR", addr)
    });
    users
}

/// A gateway on a port of its own, unless `more` has an `HTTP_ADDR`. It may not be ready yet.
pub fn start_gateway(users_addr: &str, more: &[(&str, &str)]) -> (Program, Http) {
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", users_addr)];
    let settings = [&settings[..], more].concat();
    let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
    let http = Http::new(gateway.addr().port());
    (gateway, http)
}

/// Whether the service that listens on `addr`, which `setting` tells it, says that it is ready.
pub fn healthcheck(service: &str, setting: &str, addr: &str) -> bool {
    healthcheck_with(service, &[(setting, addr)])
}

/// The same with more settings of the service.
pub fn healthcheck_with(service: &str, settings: &[(&str, &str)]) -> bool {
    let mut check = Command::new(binary(service));
    let check = check.arg("healthcheck").current_dir("/");
    let check = check.envs(settings.iter().copied());
    check.stderr(Stdio::null()).status().unwrap().success()
}
