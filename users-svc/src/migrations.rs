//! The database schema: versioned migrations, embedded in the binary.

use std::{mem, thread, time::Duration};

use anyhow::{Context as _, ensure};
use postgres::{Client, error::SqlState};
use refinery::Migration;
use tokio_util::sync::CancellationToken;

use crate::store::database::{Database, warn_unless_durable, within};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Pause between attempts to reach a database that is not there when the service starts.
const DATABASE_RETRY: Duration = Duration::from_millis(250);
/// How long a migration may take, the wait for another instance that migrates included.
const MIGRATION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the check of the schema may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// The advisory lock that is held while migrating; others wait. "users" in ASCII.
const LOCK: i64 = 0x75_73_65_72_73;

/// Brings the schema up to date, and returns the names of the migrations that were applied.
/// Instances that do so at the same time take turns.
pub fn migrate(database: &Database) -> anyhow::Result<Vec<String>> {
    let mut client = connect(database)?;
    let report = within(MIGRATION_LIMIT, || {
        // A migration may take as long as the table needs; the limits are for requests.
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")?;
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK])?;
        // The lock ends with the connection.
        embedded::migrations::runner()
            // A newer release may have migrated already and this one still run beside it.
            .set_abort_missing(false)
            .run(&mut client)
            .context("a migration failed")
    })?;
    let applied = report.applied_migrations().iter();
    let applied: Vec<_> = applied.map(ToString::to_string).collect();
    if !applied.is_empty() {
        tracing::info!(?applied, "migrated the database schema");
    }
    Ok(applied)
}

/// Waits until the database is there, migrates it if asked to, and makes sure that the schema is not older
/// than this binary needs. Returns early when `shutdown` is cancelled.
pub fn wait_for_schema(
    database: &Database,
    migrate_first: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut is_reported = false;
    while !shutdown.is_cancelled() {
        let migrated = if migrate_first {
            migrate(database).map(drop)
        } else {
            Ok(())
        };
        match migrated.and_then(|()| check(database)) {
            Err(error) if is_transient(&error) => {
                if !mem::replace(&mut is_reported, true) {
                    tracing::warn!("{error:#}; trying on");
                }
                thread::sleep(DATABASE_RETRY);
            }
            checked => return checked,
        }
    }
    Ok(())
}

/// Fails when this service cannot work with the database.
fn check(database: &Database) -> anyhow::Result<()> {
    let mut client = connect(database)?;
    within(CHECK_LIMIT, || {
        check_schema(&mut client)?;
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
    let has_history = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !client.query_typed_one(has_history, &[])?.try_get(0)? {
        return Ok(0);
    }
    let last = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    Ok(client.query_typed_one(last, &[])?.try_get(0)?)
}

fn connect(database: &Database) -> anyhow::Result<Client> {
    database.connect().context("cannot connect to PostgreSQL")
}
