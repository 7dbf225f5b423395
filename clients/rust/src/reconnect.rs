//! Keeps a link to each replica: connects, connects again after a loss, replaces a link before its certificates
//! expire, and drains when an address is gone.

use std::{collections::HashMap, mem, net::SocketAddr, rc::Rc, time::Duration};

use tokio::task::spawn_local;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::backoff::Backoff;
use crate::balancer::Balancer;
use crate::faults::Replica;
use crate::link::{ConnectedLink, Ended};
use crate::telemetry::{self, Counted};

/// First pause between attempts to connect.
pub const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between attempts to connect.
pub const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Keeps a link to each address, as the addresses come and go.
pub async fn keep_links(balancer: Rc<Balancer>) {
    let mut addresses = balancer.resolver.addresses.clone();
    let mut kept: HashMap<SocketAddr, DropGuard> = HashMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        kept.retain(|addr, _| wanted.contains_key(addr));
        for (addr, host) in wanted {
            kept.entry(addr).or_insert_with(|| {
                let address_gone = CancellationToken::new();
                let replica = Replica { addr, host };
                spawn_local(keep_link(replica, balancer.clone(), address_gone.clone()));
                address_gone.drop_guard()
            });
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to a replica until its address is gone.
async fn keep_link(replica: Replica, balancer: Rc<Balancer>, address_gone: CancellationToken) {
    let _counted = Counted::new(telemetry::links());
    let addr = replica.addr;
    let mut backoff = Backoff::new(MIN_PAUSE, MAX_PAUSE);
    balancer.set_fault(&replica, "it has not answered yet");
    while !address_gone.is_cancelled() {
        match ConnectedLink::connect(&replica, balancer.resolver.clone()).await {
            Ok(connected) => {
                backoff.reset();
                use_link(connected, &replica, &balancer, &address_gone).await;
            }
            Err(error) => {
                balancer.set_fault(&replica, &error);
                balancer.resolver.log.unreachable(addr, &error);
            }
        }

        // A random part, so that many clients do not come back all at once.
        let pause = backoff.next_pause().mul_f64(0.5 + fastrand::f64() / 2.0);
        let paused = balancer.resolver.pause_until_link_change(pause);
        address_gone.run_until_cancelled(paused).await;
    }
    balancer.clear_fault(&replica);
}

/// Gives a link to the balancer until it is lost or its address is gone, and in time a new one in its place.
async fn use_link(
    mut connected: ConnectedLink,
    replica: &Replica,
    balancer: &Rc<Balancer>,
    address_gone: &CancellationToken,
) {
    let addr = replica.addr;
    balancer.add(connected.link.clone());
    balancer.resolver.log.connected(addr);

    loop {
        match address_gone.run_until_cancelled(connected.ended()).await {
            Some(Ended::Expiring) => {
                replace(&mut connected, replica, balancer).await;
            }
            Some(Ended::Lost(cause)) => {
                balancer.remove(&connected.link);
                balancer.set_fault(replica, &cause);
                // Calls that are still in flight fail, so that they can be repeated elsewhere.
                let _ = connected.disconnector.await;
                balancer.resolver.log.lost(addr, &cause);
                return balancer.resolver.request_lookup();
            }
            None => {
                balancer.remove(&connected.link);
                connected.retire().await;
                return balancer.resolver.log.left(addr);
            }
        }
    }
}

/// Connects anew before a certificate expires, and only then lets go of the old link. It stays when there is no
/// new one.
async fn replace(connected: &mut ConnectedLink, replica: &Replica, balancer: &Rc<Balancer>) {
    match ConnectedLink::connect(replica, balancer.resolver.clone()).await {
        Ok(next) => {
            balancer.add(next.link.clone());
            let old = mem::replace(connected, next);
            balancer.remove(&old.link);
            spawn_local(old.retire());
        }
        Err(error) => {
            let addr = replica.addr;
            tracing::warn!(%addr, %error, "cannot replace a link before its certificate expires; still trying");
            connected.replace_at = Some(Instant::now() + MAX_PAUSE);
        }
    }
}
