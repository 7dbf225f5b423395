//! Keeps a link to each replica, as replicas come, fail and go.

use std::{collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    backoff::Backoff,
    balancer::Links,
    link::{RECHECK_PAUSE, connect},
};

/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long calls may still run on the link to a replica whose address is gone.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps a link to each address, as the addresses come and go.
pub async fn follow(links: Rc<Links>) {
    let mut addresses = links.replicas.addresses();
    let mut kept: HashMap<SocketAddr, DropGuard> = HashMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        kept.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            kept.entry(addr).or_insert_with(|| {
                let retired = CancellationToken::new();
                spawn_local(keep_connected(addr, links.clone(), retired.clone()));
                retired.drop_guard()
            });
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to `addr` until it is `retired`.
async fn keep_connected(addr: SocketAddr, links: Rc<Links>, retired: CancellationToken) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut reported = false;
    while !retired.is_cancelled() {
        match connect(addr).await {
            Ok(mut connected) => {
                tracing::info!(%addr, "connected to the users service");
                backoff.reset();
                reported = false;
                let link = &connected.link;
                links.add(link.clone());
                let cause = tokio::select! {
                    ended = &mut connected.connection => match ended {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it closed the connection".into(),
                    },
                    () = link.silence(&links.replicas) => "it does not answer".into(),
                    () = retired.cancelled() => "its address is gone".into(),
                };
                links.remove(link);
                if retired.is_cancelled() {
                    let idle = async {
                        while link.in_flight.get() > 0 {
                            sleep(BACKOFF.0).await;
                        }
                    };
                    let _ = timeout(RETIRE_TIMEOUT, idle).await;
                }
                // Fails the calls in flight, so that they can be repeated elsewhere.
                let _ = connected.disconnector.await;
                if retired.is_cancelled() {
                    tracing::info!(%addr, cause, "left a users service");
                } else {
                    tracing::warn!(%addr, cause, "lost a users service");
                    links.replicas.look_again();
                }
            }
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(%addr, %error, "cannot reach a users service; trying on");
            }
            Err(error) => tracing::debug!(%addr, %error, "cannot reach a users service"),
        }
        // A random part, so that many clients do not come back all at once.
        let pause = sleep(backoff.next_pause().mul_f64(0.5 + fastrand::f64() / 2.0));
        tokio::select! {
            () = pause => {}
            // Never at once: with a replica that hangs up as soon as it has answered, threads would
            // send each other round and round.
            () = links.replicas.news().notified() => sleep(RECHECK_PAUSE).await,
            () = retired.cancelled() => {}
        }
    }
}
