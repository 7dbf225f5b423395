//! TLS between the users service and PostgreSQL, asked of a server that speaks it.

mod faults;
mod impostor;
mod modes;
mod refusals;

use std::time::Duration;
use std::{fs, path::PathBuf};

use credentials::generate::Authority;
use postgres_server::Server;
use tempfile::TempDir;

use e2e::{Program, System, database, free_addr, healthcheck, spawn_users, start_users};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn authority(name: &str) -> Authority {
    Authority::new(name, DAY).unwrap()
}

/// A server that speaks TLS, and a database on it.
struct TlsDatabase {
    server: Server,
    /// In plain text, as the superuser.
    url: String,
    ca: Authority,
    dir: TempDir,
}

impl TlsDatabase {
    /// The server's certificate is for these names.
    fn new(names: &[&str]) -> Self {
        let server = Server::temporary().unwrap();
        let database = Self {
            url: server.fresh_database().unwrap(),
            server,
            ca: authority("CA of the database"),
            dir: tempfile::tempdir().unwrap(),
        };
        database.trust(&database.ca.cert);
        database.show_certificate(&database.ca, names);
        database
    }

    /// Has the server show a certificate that `ca` signs.
    fn show_certificate(&self, ca: &Authority, names: &[&str]) {
        let issued = ca.issue(names, DAY).unwrap();
        self.server
            .use_certificate(&issued.cert, &issued.key)
            .unwrap();
    }

    /// Writes a certificate that `ca` signs, and its key, to files.
    fn write_certificate(&self, ca: &Authority, names: &[&str]) -> [PathBuf; 2] {
        let issued = ca.issue(names, DAY).unwrap();
        [("other.crt", issued.cert), ("other.key", issued.key)].map(|(name, text)| {
            let path = self.dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        })
    }

    /// The file with the CAs that the service trusts.
    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    fn trust(&self, certificates: &str) {
        fs::write(self.ca_file(), certificates).unwrap();
    }

    /// The URL with the server's host as the service names it, and with more options; `{ca}` is the CA's file.
    fn url_of(&self, url: &str, host: &str, options: &str) -> String {
        let options = options.replace("{ca}", self.ca_file().to_str().unwrap());
        let separator = match options.as_str() {
            "" => "",
            _ if url.contains('?') => "&",
            _ => "?",
        };
        format!("{url}{separator}{options}").replacen("127.0.0.1", host, 1)
    }

    /// A users service that connects like this, once it is ready.
    fn start_users(&self, host: &str, options: &str, more: &[(&str, &str)]) -> Program {
        let url = self.url_of(&self.url, host, options);
        start_users(&free_addr(), &url, more)
    }

    /// Both services, with a role of its own for running.
    fn start_system(&self, options: &str, more: &[(&str, &str)]) -> System {
        let running = database::for_running_role(&self.url).unwrap();
        let [running, owner] =
            [&running, &self.url].map(|url| self.url_of(url, "localhost", options));
        let urls = [
            ("DATABASE_URL", &*running),
            ("DATABASE_MIGRATE_URL", &*owner),
        ];
        System::start_on(&self.url, &[&urls[..], more].concat(), &[])
    }

    /// Whether the service's connections are encrypted, as the server says; they must all be alike.
    fn is_encrypted(&self) -> bool {
        let ask = "SELECT bool_and(ssl), bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'users-svc' AND datname = current_database()";
        let row = database::connect(&self.url).query_one(ask, &[]).unwrap();
        let (all, any): (bool, bool) = (row.get(0), row.get(1));
        assert_eq!(all, any);
        all
    }

    /// Checks that a users service which connects like this is not ready, and that its log says why.
    fn assert_refused(&self, host: &str, options: &str, says: &str) {
        let url = self.url_of(&self.url, host, options);
        assert_not_ready(&url, says);
    }
}

/// Checks that a users service with this database is not ready, and that its log says why without the password.
fn assert_not_ready(url: &str, says: &str) {
    let addr = free_addr();
    let mut users = spawn_users(&addr, url, &[]);
    users.wait_for("listening");
    let line = users.wait_for("cannot connect to PostgreSQL");
    assert!(line.contains(says) && line.contains("WARN"), "{line}");
    assert!(!healthcheck("users-svc", "RPC_ADDR", &addr));
    users.stop();
    let password = url.split([':', '@']).nth(2).unwrap();
    assert!(!users.output().contains(password), "{}", users.output());
}
