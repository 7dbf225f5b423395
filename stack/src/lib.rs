//! The whole system in one process: a private PostgreSQL, the users service and the gateway.

pub mod certs;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context as _, anyhow, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use postgres_server::Server;
use service_runtime::{
    health::Readiness,
    process::listen,
    settings::{parse_from, warn_of_unknown},
};
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "users";
/// The role that the users service runs as; it migrates as the superuser.
const RUNNING_ROLE: &str = "users_svc";
const POLL: Duration = Duration::from_millis(20);

/// Starts everything: a private PostgreSQL with its data in .data/, the users service, and the
/// gateway on port 3000. Ctrl-C stops everything.
///
/// The services take their settings from the environment, except that the gateway always uses the users
/// service beside it, which always migrates its database; `cargo run --bin gateway -- --help` and
/// `cargo run --bin users-svc -- --help` list them.
///
/// Where no PostgreSQL is installed, a portable build of it is downloaded once. POSTGRES_DOWNLOAD=off forbids
/// that, and a URL names a mirror.
#[derive(Debug, Parser)]
#[command(name = "stack", version)]
pub struct Settings {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,

    /// Directory of the private PostgreSQL's data.
    #[arg(long, env = "DATA_DIR", default_value = ".data")]
    pub data_dir: PathBuf,

    /// Use this PostgreSQL database instead of a private server.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

/// What to do instead of starting the system.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a CA, and the certificates with which the services and their callers know each other (mutual TLS).
    /// Run it again to renew those that have less than a third of their life left.
    Certs(certs::Certs),
}

/// Warns of variables that have no effect here.
pub fn warn_of_unused_variables(settings: &Settings) {
    let programs = [
        Settings::command(),
        gateway::Settings::command(),
        users_svc::Settings::command(),
    ];
    warn_of_unknown(&programs, &[postgres_server::DOWNLOAD_VARIABLE]);
    let mut decided = vec![
        (
            "USERS_ADDR",
            "the gateway calls the users service of this process",
        ),
        (
            "MIGRATE_ON_START",
            "this process always migrates its database",
        ),
    ];
    if settings.database_url.is_none() {
        decided.push((
            "DATABASE_MIGRATE_URL",
            "the private PostgreSQL has its own; set DATABASE_URL too",
        ));
    }
    for (name, why) in decided {
        if std::env::var_os(name).is_some() {
            tracing::warn!("{name} has no effect here: {why}");
        }
    }
}

/// Settings of the services, with what this process decides for them.
struct Services {
    users: users_svc::Settings,
    gateway: gateway::Settings,
    users_listener: TcpListener,
    gateway_listener: TcpListener,
}

/// Runs the system until `shutdown`, or until a part of it fails. Everything that was started has
/// stopped when it returns.
pub fn run(
    settings: &Settings,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    // Bad values are refused before anything listens.
    let users: users_svc::Settings = match &settings.database_url {
        Some(url) => parse_from(["users-svc", "--database-url", url])?,
        None => parse_from(["users-svc"])?,
    };
    if settings.database_url.is_some() {
        users.check()?;
    } else {
        // A private server has no URL yet.
        users.check_tls()?;
    }
    let gateway: gateway::Settings = parse_from(["gateway"])?;
    gateway.check()?;

    // Ports first: they are what most often stands in the way, and cost nothing to try.
    let gateway_listener = listen_here("HTTP_ADDR", gateway.http_addr)?;
    let users_listener = listen_here("RPC_ADDR", users.rpc_addr)?;

    let mut server = None;
    let mut urls = Vec::new();
    if let Some(url) = &settings.database_url {
        urls.extend(["--database-url".into(), url.clone()]);
    } else {
        let server = server.insert(private_server(&settings.data_dir)?);
        let owner = server.ensure_database(DATABASE)?;
        let running = server.ensure_role(RUNNING_ROLE, DATABASE)?;
        urls.extend(["--database-url".into(), running]);
        urls.extend(["--database-migrate-url".into(), owner]);
    }

    let users_addr = users_listener.local_addr()?.to_string();
    let users = ["users-svc".into(), "--migrate-on-start=true".into()];
    let mut users: users_svc::Settings = parse_from(users.into_iter().chain(urls))?;
    users.rpc_addr = users_listener.local_addr()?;
    let mut gateway: gateway::Settings = parse_from(["gateway", "--users-addr", &users_addr])?;
    gateway.http_addr = gateway_listener.local_addr()?;
    let services = Services {
        users,
        gateway,
        users_listener,
        gateway_listener,
    };
    services.run(readiness, shutdown, server.as_mut())
}

impl Services {
    /// Runs both services until `shutdown`, or until one of them or the private server ends.
    fn run(
        self,
        readiness: &Readiness,
        shutdown: &CancellationToken,
        mut server: Option<&mut Server>,
    ) -> anyhow::Result<()> {
        // The gateway stops first, so that what it has accepted can still be carried out.
        let (stop_gateway, stop_users) = (shutdown.child_token(), CancellationToken::new());
        let users_ready = Readiness::default();
        thread::scope(|scope| {
            // Whatever ends this, a panic included, ends the services.
            let _stop = (
                stop_gateway.clone().drop_guard(),
                stop_users.clone().drop_guard(),
            );

            let users = scope.spawn(|| {
                users_svc::run(&self.users, self.users_listener, &users_ready, &stop_users)
            });
            let psql = server.as_ref().map(|server| psql(server));
            let mut has_ended =
                || users.is_finished() || server.as_mut().is_some_and(|server| server.has_ended());

            // Requests are answered only once a create can succeed. Those of before wait in the backlog.
            while users_ready.check().is_err() && !has_ended() && !shutdown.is_cancelled() {
                thread::sleep(POLL);
            }
            if has_ended() {
                stop_gateway.cancel();
            }
            let gateway = scope.spawn(|| {
                if stop_gateway.is_cancelled() {
                    return Ok(());
                }
                gateway::run(
                    &self.gateway,
                    self.gateway_listener,
                    readiness,
                    &stop_gateway,
                )
            });
            let announced = Once::new();
            while !gateway.is_finished() {
                if readiness.check().is_ok() {
                    announced.call_once(|| announce(&self.gateway, &self.users, psql.as_deref()));
                }
                if has_ended() {
                    stop_gateway.cancel();
                }
                thread::sleep(POLL);
            }

            let gateway = gateway.join();
            stop_users.cancel();
            let users = users.join();
            users.map_err(|_| anyhow!("the users service panicked"))??;
            gateway.map_err(|_| anyhow!("the gateway panicked"))??;
            if !shutdown.is_cancelled() {
                bail!("PostgreSQL ended by itself; its log is postgres.log in the data directory");
            }
            Ok(())
        })
    }
}

/// Listens on the address in the variable `name`, or else, on a workstation, for this machine only.
fn listen_here(name: &str, mut addr: SocketAddr) -> anyhow::Result<TcpListener> {
    if std::env::var_os(name).is_none() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    listen(name, addr)
}

fn private_server(dir: &Path) -> anyhow::Result<Server> {
    let dir = reachable(dir)?;
    let fresh = !dir.join("postgres").exists();
    let server = Server::start(&dir)?;
    let did = if fresh { "created" } else { "found" };
    say(&format!(
        "{}, port {}: {did} its data in {}",
        server.version(),
        server.port(),
        dir.display()
    ));
    Ok(server)
}

/// The directory, or one like it elsewhere when this process is root's and the user that PostgreSQL runs as
/// cannot get there, for example because it is below /root.
fn reachable(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    if postgres_server::is_reachable(&dir)? {
        return Ok(dir);
    }
    let name = dir.to_string_lossy().trim_matches('/').replace('/', "-");
    Ok(Path::new("/var/lib/users-rpc").join(name))
}

/// The command that opens the private server's database.
fn psql(server: &Server) -> String {
    format!(
        "PGPASSWORD=$(cat {}) {} -h 127.0.0.1 -p {} -U postgres {DATABASE}",
        server.password_file().display(),
        server.program("psql").display(),
        server.port()
    )
}

/// Says where everything is, and what to try.
fn announce(gateway: &gateway::Settings, users: &users_svc::Settings, psql: Option<&str>) {
    let is_plain = gateway.http_tls.cert.is_none();
    let scheme = if is_plain { "http" } else { "https" };
    let url = format!("{scheme}://localhost:{}", gateway.http_addr.port());
    let has_keys = gateway.api_keys_file.is_some();
    let key = if has_keys {
        "-H \"Authorization: Bearer KEY\" "
    } else {
        ""
    };
    let psql = psql.map_or(String::new(), |psql| format!("  psql  {psql}\n"));
    say(&format!(
        "\n  HTTP  {url}\n\
         \u{20} docs  {url}/docs\n\
         \u{20} RPC   {}\n\
         {psql}\n\
         Try:\n\n\
         curl -X POST {url}/users {key}-H \"Content-Type: application/json\" \
         -d \"{{\\\"email\\\":\\\"jane@example.com\\\",\\\"name\\\":\\\"Jane Doe\\\"}}\"\n\n\
         Ctrl-C stops everything.",
        users.rpc_addr
    ));
}

/// Prints a line. A closed standard output is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
