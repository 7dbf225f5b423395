//! `users-svc healthcheck`: asks the service of this machine whether it is serving.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use capnp_rpc::rpc_twoparty_capnp::Side;
use credentials::ClientTls;
use service_runtime::health;
use tokio::{net::TcpStream, runtime::LocalRuntime, task::spawn_local, time::timeout};
use users_rpc::{transport, users_capnp::users};

use crate::settings::Settings;

/// Asks, and returns the exit status for the answer.
pub fn healthcheck(settings: &Settings) -> ExitCode {
    health::exit_code(&ready(settings))
}

/// Fails unless the service that listens on `RPC_ADDR` of this machine is serving.
///
/// Over TLS, it shows the service's own certificate and expects one for the same name.
fn ready(settings: &Settings) -> anyhow::Result<()> {
    let files = settings.tls.files()?;
    let tls = files
        .as_ref()
        .map(ClientTls::mutual_unwatched)
        .transpose()?;
    let ask = async {
        let stream = TcpStream::connect(&*health::local_addrs(settings.rpc_addr)).await?;
        let mut system = match tls {
            None => transport::client(stream).system,
            Some(tls) => {
                let host = tls.own_host();
                let host = host.context("the certificate in RPC_TLS_CERT has no name of a host")?;
                transport::client(tls.connect(&host, stream).await?.0).system
            }
        };
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
