//! The settings of the users service.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{ArgAction::Set, Args, Parser, Subcommand};
use credentials::{CredentialFile, ServerTls, all_or_none};
use secrecy::{ExposeSecret, SecretString};
use service_runtime::settings::{ProcessSettings, listen_addr, milliseconds, number};

use crate::access::{MutualTls, Readers};
use crate::migrations::Migrator;
use crate::store::database::Database;

/// The users service: creates, reads and lists users over Cap'n Proto RPC, and keeps them in
/// PostgreSQL.
///
/// Every option is also an environment variable. A file `.env` in the working directory is read
/// first; what the environment has already wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "users-svc", version)]
pub struct Settings {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Option<Command>,

    /// IP address or host name, and port, to serve Cap'n Proto RPC on. Without RPC_TLS_CERT, whoever reaches it
    /// may create users: keep it on a private network.
    #[arg(long, env = "RPC_ADDR", default_value = "0.0.0.0:4001", value_parser = listen_addr)]
    pub rpc_addr: SocketAddr,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub tls: RpcTls,

    /// PostgreSQL database, as a URL or as key=value pairs (PostgreSQL documentation, 34.1.1). Without
    /// sslmode=verify-full and sslrootcert, whoever is between this service and the database can read
    /// and change everything.
    // Not parsed here, because clap shows a value that its parser refuses.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,

    /// The same database for `migrate` and MIGRATE_ON_START, as the role that owns the tables; the role
    /// of DATABASE_URL is granted what it needs. Without it, the service migrates with DATABASE_URL,
    /// whose role can then also change and drop the tables.
    #[arg(long, env = "DATABASE_MIGRATE_URL", hide_env_values = true)]
    pub database_migrate_url: Option<SecretString>,

    /// Connections to PostgreSQL. At most half of them write for `createUser` at the same time, and a
    /// quarter for `createUsers`. More writers make smaller batches; too few leave the server's disk
    /// idle between commits.
    #[arg(long, env = "DATABASE_POOL_SIZE", default_value = "4", value_parser = number(1..=1000))]
    pub database_pool_size: usize,

    /// Milliseconds that one statement may run, and that a call waits for a connection. Keep three
    /// times of it below the gateway's REQUEST_TIMEOUT_MS, or callers are gone before they are told.
    #[arg(
        long = "database-timeout-ms",
        env = "DATABASE_TIMEOUT_MS",
        value_name = "DATABASE_TIMEOUT_MS"
    )]
    #[arg(default_value = "1500", value_parser = milliseconds)]
    pub database_timeout: Duration,

    /// Prepare statements once on each connection. Turn it off for a pgbouncer that pools transactions
    /// and does not know prepared statements: statements are then parsed anew each time.
    #[arg(long, env = "DATABASE_PREPARED_STATEMENTS", default_value_t = true, action = Set)]
    pub database_prepared_statements: bool,

    /// Bring the schema up to date before serving. Otherwise an old one is a refusal to start, and
    /// `users-svc migrate` does it.
    #[arg(
        long,
        env = "MIGRATE_ON_START",
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true",
        action = Set
    )]
    pub migrate_on_start: bool,

    /// Most users of `createUser` that one statement inserts. Larger batches commit more per second and
    /// take longer each. The users of two `createUsers` calls share a statement, whatever this is.
    #[arg(long, env = "MAX_BATCH", default_value = "128", value_parser = number(1..=10_000))]
    pub max_batch: usize,

    /// Calls in flight at once; further ones are answered `overloaded`. Too low refuses what could
    /// be served, too high lets an overload slow down everyone.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value = "8192")]
    #[arg(value_parser = number(1..=1_000_000))]
    pub max_in_flight: usize,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessSettings,
}

/// Who may come in by RPC.
#[derive(Args, Clone, Debug)]
pub struct RpcTls {
    /// File with the certificate of this service and those that lead to its CA, in PEM. With it, RPC is spoken
    /// over mutual TLS 1.3. It is read again when it changes, as the next two are.
    #[arg(
        id = "rpc-tls-cert",
        long = "rpc-tls-cert",
        env = "RPC_TLS_CERT",
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM. It may be the same file.
    #[arg(
        id = "rpc-tls-key",
        long = "rpc-tls-key",
        env = "RPC_TLS_KEY",
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,

    /// File with the CAs that sign the certificates of callers, in PEM. Everyone they sign may come in.
    #[arg(
        id = "rpc-tls-ca",
        long = "rpc-tls-ca",
        env = "RPC_TLS_CA",
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,

    /// Callers that may only read: names in their certificates (subject alternative names), with commas between
    /// them. One that is missing here may create users too, unless its certificate has no name at all.
    #[arg(long = "rpc-readers", env = "RPC_READERS", value_name = "NAMES")]
    pub readers: Option<Readers>,
}

/// What to do instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Bring the database schema up to date, and exit.
    Migrate,
    /// Ask the service on `RPC_ADDR` whether it is serving. Exit status 0: yes.
    Healthcheck,
}

impl RpcTls {
    /// The files that `RPC_TLS_CERT`, `RPC_TLS_KEY` and `RPC_TLS_CA` name.
    pub fn files(&self) -> anyhow::Result<Option<[CredentialFile; 3]>> {
        all_or_none([
            ("RPC_TLS_CERT", self.cert.as_ref()),
            ("RPC_TLS_KEY", self.key.as_ref()),
            ("RPC_TLS_CA", self.ca.as_ref()),
        ])
    }
}

impl Settings {
    /// Refuses values that do not fit together, and files that cannot be used.
    pub fn check(&self) -> anyhow::Result<()> {
        self.migrator()?;
        self.check_tls()
    }

    /// The same for what does not depend on the database.
    pub fn check_tls(&self) -> anyhow::Result<()> {
        self.mutual_tls().map(drop)
    }

    /// Who may come in by RPC; `None`: anyone.
    pub(crate) fn mutual_tls(&self) -> anyhow::Result<Option<MutualTls>> {
        let Some(files) = self.tls.files()? else {
            ensure!(
                self.tls.readers.is_none(),
                "RPC_READERS needs RPC_TLS_CERT, RPC_TLS_KEY and RPC_TLS_CA, which tell who a caller is"
            );
            return Ok(None);
        };
        Ok(Some(MutualTls {
            tls: ServerTls::mutual(files)?,
            readers: self.tls.readers.clone().unwrap_or_default(),
        }))
    }

    /// How to connect to the database that `DATABASE_URL` names.
    pub fn database(&self) -> anyhow::Result<Database> {
        let url = self.database_url.as_ref().map(ExposeSecret::expose_secret);
        let url = url.unwrap_or_default();
        Database::parse("DATABASE_URL", url, self.database_timeout)
    }

    /// How to connect to it in order to migrate it.
    pub fn migrator(&self) -> anyhow::Result<Migrator> {
        let running = self.database()?;
        let Some(url) = &self.database_migrate_url else {
            return Ok(Migrator {
                database: running,
                running_role: None,
            });
        };
        let url = url.expose_secret();
        let database = Database::parse("DATABASE_MIGRATE_URL", url, self.database_timeout)?;
        let role = running.role().context(
            "DATABASE_URL: must name the user, which DATABASE_MIGRATE_URL is to grant what it needs",
        )?;
        let running_role = (database.role() != Some(role)).then(|| role.to_owned());
        Ok(Migrator {
            database,
            running_role,
        })
    }
}
