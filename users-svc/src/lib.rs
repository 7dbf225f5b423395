//! The users service: the `Users` capability over Cap'n Proto RPC, kept in PostgreSQL.

mod connection;
pub mod group_commit;
mod migrations;
mod service;
mod settings;
mod store;
mod user;

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use capnp_rpc::rpc_twoparty_capnp::Side;
use service_runtime::{health, workers};
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use users_rpc::{transport, users_capnp::users};

pub use migrations::migrate;
pub use settings::{Command, Settings};

/// Pause between attempts to reach a database that is not there when the service starts.
const DATABASE_RETRY: Duration = Duration::from_millis(250);

/// Serves the Users capability on `listener` until `shutdown`, then drains.
///
/// Starts without the database too, and answers `overloaded` until it is there. Fails when the
/// schema is older than this binary needs.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let database = settings.database()?;
    let store = Arc::new(store::Store::new(
        database.clone(),
        settings.database_pool_size,
        settings.database_timeout,
        settings.database_prepared_statements,
    ));
    let ready = Arc::new(AtomicBool::new(false));
    let shared = connection::Shared::new(settings, &store, ready.clone());

    tracing::info!(addr = %listener.local_addr()?, "users-svc listening");
    thread::scope(|scope| {
        let schema = scope.spawn(|| {
            let prepared = prepare(settings, &database, shutdown);
            match &prepared {
                Ok(()) => ready.store(true, Ordering::Relaxed),
                Err(_) => shutdown.cancel(),
            }
            prepared
        });
        let make = || connection::UsersWorker::new(settings, &shared, shutdown.clone());
        let served = workers::run(listener, &settings.process, shutdown, make);
        let prepared = schema
            .join()
            .unwrap_or_else(|_| anyhow::bail!("checking the schema panicked"));
        prepared.and(served)
    })
}

/// Makes sure of the schema, as soon as the database is there.
fn prepare(
    settings: &Settings,
    database: &postgres::Config,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut reported = false;
    while !shutdown.is_cancelled() {
        let prepared = if settings.migrate_on_start {
            migrate(database).and_then(|_| migrations::check(database))
        } else {
            migrations::check(database)
        };
        match prepared {
            Ok(()) => return Ok(()),
            Err(error) if migrations::is_transient(&error) => {
                if !reported {
                    reported = true;
                    tracing::warn!("{error:#}; trying on");
                }
                thread::sleep(DATABASE_RETRY);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks the service of this machine whether it is serving, and returns the exit status for that.
#[must_use]
pub fn healthcheck(settings: &Settings) -> ExitCode {
    health::exit_code(&ready(settings.rpc_addr))
}

/// Fails unless the service that listens on `addr` of this machine is serving.
pub fn ready(addr: SocketAddr) -> anyhow::Result<()> {
    let ask = async {
        let stream = TcpStream::connect(health::local_addr(addr)).await?;
        let mut system = transport::client(stream).system;
        let users: users::Client = system.bootstrap(Side::Server);
        tokio::task::spawn_local(system);
        let answer = users.health_request().send().promise.await?;
        anyhow::Ok(answer.get()?.get_serving())
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let serving = runtime
        .block_on(async { timeout(health::TIMEOUT, ask).await })
        .context("it does not answer")??;
    ensure!(serving, "it is stopping, or its database is not there");
    Ok(())
}
