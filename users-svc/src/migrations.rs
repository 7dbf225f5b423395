//! The database schema: versioned migrations, embedded in the binary.

use std::{thread, time::Duration};

use anyhow::{Context as _, ensure};
use postgres::{Client, error::SqlState};
use refinery::Migration;
use service_runtime::throttle::Throttle;
use tokio_util::sync::CancellationToken;

use crate::store::database::{
    Database, ensure_sufficient, grant, may_read, warn_if_excessive, warn_unless_durable, within,
};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Pause between attempts to reach a database that is not there when the service starts.
const DATABASE_RETRY: Duration = Duration::from_millis(250);
/// Pause between two log lines on the same failure to reach it.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// How long a migration may take, the wait for another instance that migrates included.
const MIGRATION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the check of the schema may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// The advisory lock that is held while migrating; others wait. "users" in ASCII.
const LOCK: i64 = 0x75_73_65_72_73;

/// Who migrates.
#[derive(Clone)]
pub struct Migrator {
    /// As the role that owns the tables.
    pub database: Database,
    /// The role that the service runs as, when it is another one.
    pub running_role: Option<String>,
}

/// Brings the schema up to date, grants the running role what it needs, and returns the names of the
/// migrations that were applied. Instances that do so at the same time take turns.
pub fn migrate(migrator: &Migrator) -> anyhow::Result<Vec<String>> {
    let mut client = connect(&migrator.database)?;
    let report = within(MIGRATION_LIMIT, || {
        // A migration may take as long as the table needs; the limits are for requests.
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")?;
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK])?;
        // The lock ends with the connection.
        let report = embedded::migrations::runner()
            // A newer release may have migrated already and this one still run beside it.
            .set_abort_missing(false)
            .run(&mut client)
            .context("a migration failed")?;
        if let Some(role) = &migrator.running_role {
            grant(&mut client, role).context("the running role does not get its rights")?;
        }
        anyhow::Ok(report)
    })?;
    let applied = report.applied_migrations().iter();
    let applied: Vec<_> = applied.map(ToString::to_string).collect();
    if !applied.is_empty() {
        tracing::info!(?applied, "migrated the database schema");
    }
    Ok(applied)
}

/// Waits until the database is there, migrates it if there is a `migrator`, and makes sure that the schema is
/// not older than this binary needs. Returns early when `shutdown` is cancelled.
pub fn wait_for_schema(
    database: &Database,
    migrator: Option<&Migrator>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    // Who migrates as the role that the service runs as wants it to own the table.
    let is_one_role = migrator.is_some_and(|migrator| migrator.running_role.is_none());
    let lines = Throttle::new(LOG_PAUSE);
    while !shutdown.is_cancelled() {
        let migrated = migrator.map_or(Ok(()), |migrator| migrate(migrator).map(drop));
        match migrated.and_then(|()| check(database, is_one_role)) {
            Err(error) if is_transient(&error) => {
                let error = format!("{error:#}");
                if lines.admit(error.clone()).is_some() {
                    tracing::warn!("{error}; still trying");
                }
                thread::sleep(DATABASE_RETRY);
            }
            Ok(()) => {
                tracing::info!(server = database.server(), "connected to PostgreSQL");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fails when this service cannot work with the database.
fn check(database: &Database, is_one_role: bool) -> anyhow::Result<()> {
    let mut client = connect(database)?;
    within(CHECK_LIMIT, || {
        check_schema(&mut client)?;
        ensure_sufficient(&mut client)?;
        if !is_one_role {
            warn_if_excessive(&mut client)?;
        }
        Ok(warn_unless_durable(&mut client)?)
    })
}

/// Fails when the schema is older than this binary needs, or the database cannot hold every name.
fn check_schema(client: &mut Client) -> anyhow::Result<()> {
    let encoding: String = client.query_typed_one("SHOW server_encoding", &[])?.get(0);
    ensure!(
        encoding == "UTF8",
        "the database's encoding is {encoding}; it must be UTF8"
    );
    let migrations = embedded::migrations::runner();
    let versions = migrations.get_migrations().iter().map(Migration::version);
    let needed = versions.max().unwrap_or_default();
    let applied = applied_version(client)?;
    ensure!(
        applied >= needed,
        "the database schema has version {applied} and must have {needed}: run `users-svc migrate`, \
         or set MIGRATE_ON_START=true"
    );
    Ok(())
}

/// Whether the failure may go away by itself: the server is not there, or not yet in a state to help.
/// What it answers to a wrong password or database name is not.
fn is_transient(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    let Some(cause) = causes.find_map(|cause| cause.downcast_ref::<postgres::Error>()) else {
        return false;
    };
    // No answer at all; 08 connection, 53 resources, 57 the operator, 25006 a standby.
    cause.code().map(SqlState::code).is_none_or(|code| {
        code == "25006"
            || ["08", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
    })
}

/// The version of the schema; 0: there is none.
fn applied_version(client: &mut Client) -> anyhow::Result<i32> {
    if !may_read(client, "refinery_schema_history")? {
        return Ok(0);
    }
    let last = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    Ok(client.query_typed_one(last, &[])?.try_get(0)?)
}

fn connect(database: &Database) -> anyhow::Result<Client> {
    let cannot = || format!("cannot connect to PostgreSQL at {}", database.server());
    database.connect().with_context(cannot)
}
