//! Keeps a link to each replica: connects, connects again after a loss, and drains when an address is gone.

use std::{collections::HashMap, mem, net::SocketAddr, rc::Rc, time::Duration};

use tokio::task::spawn_local;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{backoff::Backoff, balancer::Balancer, link::ConnectedLink};

/// First pause between attempts to connect.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Keeps a link to each address, as the addresses come and go.
pub async fn keep_links(balancer: Rc<Balancer>) {
    let mut addresses = balancer.resolver.addresses.clone();
    let mut kept: HashMap<SocketAddr, DropGuard> = HashMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        kept.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            kept.entry(addr).or_insert_with(|| {
                let address_gone = CancellationToken::new();
                spawn_local(keep_link(addr, balancer.clone(), address_gone.clone()));
                address_gone.drop_guard()
            });
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to `addr` until its address is gone.
async fn keep_link(addr: SocketAddr, balancer: Rc<Balancer>, address_gone: CancellationToken) {
    let mut backoff = Backoff::new(MIN_PAUSE, MAX_PAUSE);
    let mut is_reported = false;
    while !address_gone.is_cancelled() {
        match ConnectedLink::connect(addr, balancer.resolver.clone()).await {
            Ok(mut connected) => {
                tracing::info!(%addr, "connected to the users service");
                backoff.reset();
                is_reported = false;

                balancer.add(connected.link.clone());
                let lost = address_gone.run_until_cancelled(connected.lost()).await;
                balancer.remove(&connected.link);

                if lost.is_none() {
                    connected.link.drain().await;
                }
                // Calls that are still in flight fail, so that they can be repeated elsewhere.
                let _ = connected.disconnector.await;
                if let Some(cause) = lost {
                    tracing::warn!(%addr, %cause, "lost a users service");
                    balancer.resolver.request_lookup();
                } else {
                    tracing::info!(%addr, "left a users service, as its address is gone");
                }
            }
            Err(error) if mem::replace(&mut is_reported, true) => {
                tracing::debug!(%addr, %error, "cannot reach a users service");
            }
            Err(error) => {
                tracing::warn!(%addr, %error, "cannot reach a users service; still trying");
            }
        }

        // A random part, so that many clients do not come back all at once.
        let pause = backoff.next_pause().mul_f64(0.5 + fastrand::f64() / 2.0);
        let paused = balancer.resolver.pause_until_link_change(pause);
        address_gone.run_until_cancelled(paused).await;
    }
}
