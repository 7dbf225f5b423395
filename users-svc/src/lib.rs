//! The users service: the `Users` capability over Cap'n Proto RPC, kept in PostgreSQL.

pub mod batch;
mod config;
mod migrate;
mod pool_events;
mod rules;
mod service;
mod service_connection;
mod store;

use std::{
    net::TcpListener,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use capnp_rpc::rpc_twoparty_capnp::Side;
use process::{settings, workers};
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use users_rpc::{transport, users_capnp::users};

pub use config::{Command, Config};
pub use migrate::migrate;

/// Pause between attempts to reach a database that is not there when the service starts.
const DATABASE_RETRY: Duration = Duration::from_millis(250);
/// How long `users-svc healthcheck` waits for an answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves the Users capability on `listener` until `shutdown`, then drains.
///
/// Starts without the database too, and answers `overloaded` until it is there. Fails when the
/// schema is older than this binary needs.
pub fn run(
    config: &Config,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let database = config.database()?;
    let store = Arc::new(store::Store::new(
        database.clone(),
        config.database_pool_size,
        config.database_timeout_ms,
        config.database_prepared_statements,
    ));
    let ready = Arc::new(AtomicBool::new(false));
    let shared = service_connection::Shared::new(config, &store, ready.clone());

    tracing::info!(addr = %listener.local_addr()?, "users-svc listening");
    thread::scope(|scope| {
        let schema = scope.spawn(|| {
            let prepared = prepare(config, &database, shutdown);
            match &prepared {
                Ok(()) => ready.store(true, Ordering::Relaxed),
                Err(_) => shutdown.cancel(),
            }
            prepared
        });
        let make = || service_connection::UsersWorker::new(config, &shared, shutdown.clone());
        let served = workers::run(listener, &config.process, shutdown, make);
        let prepared = schema
            .join()
            .unwrap_or_else(|_| anyhow::bail!("checking the schema panicked"));
        prepared.and(served)
    })
}

/// Makes sure of the schema, as soon as the database is there.
fn prepare(
    config: &Config,
    database: &postgres::Config,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        let prepared = if config.migrate_on_start {
            migrate(database).and_then(|_| migrate::check(database))
        } else {
            migrate::check(database)
        };
        match prepared {
            Ok(()) => return Ok(()),
            Err(error) if migrate::is_transient(&error) => {
                tracing::debug!("the database is not there yet: {error:#}");
                thread::sleep(DATABASE_RETRY);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks the service of this machine whether it is serving, for images without a shell.
pub fn healthcheck(config: &Config) -> anyhow::Result<ExitCode> {
    let addr = settings::local(config.rpc_addr);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let serving = runtime.block_on(async {
        let ask = async {
            let mut system = transport::client(TcpStream::connect(addr).await?)?.system;
            let users: users::Client = system.bootstrap(Side::Server);
            tokio::task::spawn_local(system);
            anyhow::Ok(
                users
                    .health_request()
                    .send()
                    .promise
                    .await?
                    .get()?
                    .get_serving(),
            )
        };
        timeout(HEALTHCHECK_TIMEOUT, ask).await
    });
    match serving {
        Ok(Ok(true)) => return Ok(ExitCode::SUCCESS),
        Ok(Ok(false)) => {
            eprintln!("{addr} is not serving: it is stopping, or its database is not there");
        }
        Ok(Err(error)) => eprintln!("{addr} is not serving: {error:#}"),
        Err(_) => eprintln!("{addr} does not answer"),
    }
    Ok(ExitCode::FAILURE)
}
