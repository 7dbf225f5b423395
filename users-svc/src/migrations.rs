//! The database schema: versioned migrations, embedded in the binary.

use anyhow::{Context as _, bail, ensure};
use postgres::{Client, Config, NoTls};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Taken by whoever migrates; others wait. The number is ours alone: "users" in ASCII.
const LOCK: i64 = 0x75_73_65_72_73;

/// Brings the schema up to date, and returns the names of the migrations that were applied.
/// Instances that do so at the same time take turns.
pub fn migrate(database: &Config) -> anyhow::Result<Vec<String>> {
    let mut client = connect(database)?;
    // A migration may take as long as the table needs; the limits are for requests.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK])?;
    // The lock ends with the connection.
    let report = embedded::migrations::runner()
        // A newer release may have migrated already and this one still run beside it.
        .set_abort_missing(false)
        .run(&mut client)
        .context("a migration failed")?;
    let applied: Vec<_> = report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect();
    if !applied.is_empty() {
        tracing::info!(?applied, "migrated the database schema");
    }
    Ok(applied)
}

/// Fails when the schema is older than this binary needs, or the database cannot hold every name.
pub fn check(database: &Config) -> anyhow::Result<()> {
    let mut client = connect(database)?;
    let encoding: String = client.query_typed_one("SHOW server_encoding", &[])?.get(0);
    ensure!(
        encoding == "UTF8",
        "the database's encoding is {encoding}; it must be UTF8"
    );
    let needed = embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max();
    let applied = applied_version(&mut client)?;
    if applied < needed {
        let shown = |version: Option<_>| version.map_or("none".into(), |v: i32| v.to_string());
        bail!(OldSchema {
            needed: shown(needed),
            applied: shown(applied)
        });
    }
    Ok(())
}

/// The schema needs a migration first.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database schema has version {applied} and must have {needed}: run `users-svc migrate`, \
     or set MIGRATE_ON_START=true"
)]
pub struct OldSchema {
    needed: String,
    applied: String,
}

/// Whether the failure may go away by itself: the server is not there, or not yet in a state to help.
/// What it answers to a wrong password or database name is not.
pub fn is_transient(error: &anyhow::Error) -> bool {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<postgres::Error>());
    match cause.map(postgres::Error::code) {
        None => false,
        // No answer at all; 08 connection, 53 resources, 57 the operator, 25006 a standby.
        Some(None) => true,
        Some(Some(code)) => {
            ["08", "53", "57"].contains(&&code.code()[..2]) || code.code() == "25006"
        }
    }
}

fn applied_version(client: &mut Client) -> anyhow::Result<Option<i32>> {
    let history = client.query_typed_one(
        "SELECT to_regclass('refinery_schema_history') IS NOT NULL",
        &[],
    )?;
    if !history.get::<_, bool>(0) {
        return Ok(None);
    }
    Ok(client
        .query_typed_one("SELECT max(version) FROM refinery_schema_history", &[])?
        .get(0))
}

fn connect(database: &Config) -> anyhow::Result<Client> {
    database
        .connect(NoTls)
        .context("cannot connect to PostgreSQL")
}
