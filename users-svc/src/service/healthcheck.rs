//! `users-svc healthcheck`: asks the service of this machine whether it is serving.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context as _, ensure};
use capnp_rpc::rpc_twoparty_capnp::Side;
use service_runtime::health;
use tokio::{net::TcpStream, runtime::LocalRuntime, task::spawn_local, time::timeout};
use users_rpc::{transport, users_capnp::users};

use crate::settings::Settings;

/// Asks, and returns the exit status for the answer.
pub fn healthcheck(settings: &Settings) -> ExitCode {
    health::exit_code(&ready(settings.rpc_addr))
}

/// Fails unless the service that listens on `addr` of this machine is serving.
pub fn ready(addr: SocketAddr) -> anyhow::Result<()> {
    let ask = async {
        let stream = TcpStream::connect(health::local_addr(addr)).await?;
        let mut system = transport::client(stream).system;
        let users: users::Client = system.bootstrap(Side::Server);
        spawn_local(system);
        let response = users.health_request().send().promise.await?;
        anyhow::Ok(response.get()?.get_serving())
    };
    let serving = LocalRuntime::new()?
        .block_on(async { timeout(health::TIMEOUT, ask).await })
        .context("it does not answer")??;
    ensure!(serving, "it is stopping, or its database is not there");
    Ok(())
}
