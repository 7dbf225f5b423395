//! SIGTERM and SIGINT: the first asks the process to stop, the second makes it.

use std::{io, process::exit, thread};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

/// A token that the first SIGTERM or SIGINT cancels. A second one ends the process at once, with
/// status 128 + signal number.
pub fn shutdown_on_signal() -> io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(guard);

    let token = CancellationToken::new();
    let first = token.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let mut next = async || {
                    tokio::select! {
                        _ = terminate.recv() => 15,
                        _ = interrupt.recv() => 2,
                    }
                };
                next().await;
                tracing::info!("stopping; a second signal stops at once");
                first.cancel();
                let signal = next().await;
                logging::flush();
                exit(128 + signal);
            });
        })?;
    Ok(token)
}
