//! The users service: the `Users` capability over Cap'n Proto RPC, kept in PostgreSQL.
//!
//! This file puts the parts together: the store, the queues in front of it, and the worker threads that
//! serve connections.

mod batch_metrics;
mod call;
mod connection;
mod database_url;
pub mod group_commit;
mod migrations;
pub mod outcome;
mod queues;
mod service;
mod settings;
mod store;
mod user;

use std::{net::TcpListener, sync::Arc, thread};

use anyhow::anyhow;
use service_runtime::workers;
use tokio_util::sync::CancellationToken;

use crate::{call::Admission, connection::UsersWorker, queues::Queues, store::Store};

pub use migrations::migrate;
pub use service::healthcheck::{healthcheck, ready};
pub use settings::{Command, Settings};

/// Serves the `Users` capability on `listener` until `shutdown`, then drains.
///
/// Starts without the database too, and answers `overloaded` until it is there. Fails when the schema is
/// older than this binary needs.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let database = settings.database()?;
    let store = Arc::new(Store::new(database.clone(), settings));
    let queues = Queues::new(settings, &store);
    let admission = Admission::new(settings.max_in_flight);

    tracing::info!(addr = %listener.local_addr()?, "users-svc listening");
    thread::scope(|scope| {
        let schema = scope.spawn(|| {
            let ready = migrations::wait_for_schema(&database, settings.migrate_on_start, shutdown);
            match &ready {
                Ok(()) => admission.open(),
                Err(_) => shutdown.cancel(),
            }
            ready
        });

        let worker = || UsersWorker::new(admission.clone(), &queues);
        let served = workers::run(listener, &settings.process, shutdown, worker);

        let ready = schema.join();
        ready
            .map_err(|_| anyhow!("checking the schema panicked"))?
            .and(served)
    })
}
