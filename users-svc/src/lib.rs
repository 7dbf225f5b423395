//! The users service: the `Users` capability over Cap'n Proto RPC, kept in PostgreSQL.
//!
//! This file puts the parts together: the store, the queues in front of it, and the worker threads that
//! serve connections.

mod access;
mod batch_kind;
mod batch_metrics;
mod call;
mod claim;
mod connection;
#[cfg(test)]
mod fuzz;
pub mod group_commit;
mod migrations;
pub mod outcome;
mod queues;
mod service;
mod settings;
mod store;
mod sync;
mod user;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use anyhow::bail;
use service_runtime::{health::Readiness, workers};
use tokio_util::sync::CancellationToken;

use crate::{call::Admission, connection::UsersWorker, queues::Queues, store::Store};

pub use migrations::{Migrator, migrate};
pub use service::healthcheck::healthcheck;
pub use settings::{Command, Settings};

/// Serves the `Users` capability on `listener` until `shutdown`, then drains. `readiness` tells the platform that the
/// database has been there, once it has: that it goes away again is nothing another replica could mend.
///
/// Starts without the database too, and answers `overloaded` until it is there. Fails when the schema is
/// older than this binary needs.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let database = settings.database()?;
    let mutual_tls = settings.mutual_tls()?;
    if mutual_tls.is_none() && !listener.local_addr()?.ip().is_loopback() {
        tracing::warn!(
            "whoever reaches RPC_ADDR may create and read users: set RPC_TLS_CERT, RPC_TLS_KEY and RPC_TLS_CA, \
             or listen on 127.0.0.1"
        );
    }
    let migrator = settings
        .migrate_on_start
        .then(|| settings.migrator())
        .transpose()?;
    let store = Arc::new(Store::new(&database, settings));
    let queues = Queues::new(settings, &store, database.batch_target());
    let admission = Admission::new(settings.max_in_flight, readiness.clone());
    let opened = admission.clone();
    readiness.set(move || {
        let is_open = opened.is_open();
        is_open
            .then_some(())
            .ok_or("its database has not been there yet")
    });

    tracing::info!(addr = %listener.local_addr()?, "users-svc listening");
    let (report, schema_checked) = mpsc::channel();
    let (opened, stop) = (admission.clone(), shutdown.clone());
    thread::spawn(move || {
        // Whatever goes wrong here, a panic included, ends the service.
        let stop_all = stop.clone().drop_guard();
        let ready = migrations::wait_for_schema(&database, migrator.as_ref(), &stop);
        let is_ready = ready.is_ok();
        let _ = report.send(ready);
        if is_ready {
            opened.open();
            stop_all.disarm();
        }
    });

    let worker = || UsersWorker::new(admission.clone(), mutual_tls.clone(), &queues);
    workers::run(listener, &settings.process, shutdown, worker)?;

    match schema_checked.try_recv() {
        Ok(ready) => ready,
        // A migration is not waited for: PostgreSQL undoes it when it is left.
        Err(TryRecvError::Empty) => Ok(()),
        Err(TryRecvError::Disconnected) => bail!("checking the schema panicked"),
    }
}
