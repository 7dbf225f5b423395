//! A pgbouncer that pools transactions, between the service and its database, when THROUGH_PGBOUNCER is
//! set: `THROUGH_PGBOUNCER=1 cargo test --test contract`.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

pub fn is_wanted() -> bool {
    env::var_os("THROUGH_PGBOUNCER").is_some()
}

/// The database of `url` through pgbouncer, for a service that gives statements so much time.
pub fn in_front_of(url: &str, timeout: Duration) -> String {
    // postgres://user:password@host:port/database
    let (credentials, place) = url.rsplit_once('@').unwrap();
    let (addr, database) = place.split_once('/').unwrap();
    let port = start(credentials, addr);
    // Limits that the service asks for at the start of a session do not reach the server's sessions. So they
    // are set as docs/OPERATIONS.md asks.
    if let Ok(mut sql) = postgres::Client::connect(url, postgres::NoTls) {
        let of_statement = format!("statement_timeout = {}", timeout.as_millis());
        for limit in [&of_statement, "lock_timeout = 10"] {
            sql.batch_execute(&format!("ALTER DATABASE \"{database}\" SET {limit}"))
                .unwrap();
        }
    }
    format!("{credentials}@127.0.0.1:{port}/{database}")
}

/// Starts one that ends with this process, and returns its port.
fn start(credentials: &str, addr: &str) -> u16 {
    let (user, password) = credentials
        .trim_start_matches("postgres://")
        .split_once(':')
        .unwrap();
    let (host, port) = addr.split_once(':').unwrap();
    let listen = postgres_server::ports::free_port().unwrap();
    let dir = tempfile::tempdir().unwrap().keep();
    let file = dir.join("pgbouncer.ini");
    let settings = format!(
        "[databases]\n\
         * = host={host} port={port} user={user} password={password}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {listen}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         query_wait_timeout = 2\n\
         server_login_retry = 1\n\
         ignore_startup_parameters = options\n"
    );
    fs::write(&file, settings).unwrap();
    // When the tests end, however they do, so does the shell's standard input, and with it the rest.
    let script = "PATH=$PATH:/usr/sbin; dir=$1; shift; \"$@\" & read -r _; kill $!; rm -r \"$dir\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(&dir)
        .arg("pgbouncer");
    // It refuses to run as root; and whoever it becomes must be able to read its settings.
    if nix::unistd::geteuid().is_root() {
        let owner = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        std::os::unix::fs::chown(&dir, Some(owner.uid.as_raw()), None).unwrap();
        command.args(["-u", "postgres"]);
    }
    let process = command
        .arg("-q")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", listen)).is_err() {
        assert!(Instant::now() < end, "pgbouncer does not start");
        thread::sleep(Duration::from_millis(20));
    }
    // Its standard input stays open until the process ends.
    std::mem::forget(process);
    listen
}
