//! SIGTERM and SIGINT: the first asks the process to stop, after a delay if there is one, the second makes it.

use std::future::pending;
use std::{io, process::exit, thread, time::Duration};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{health::Readiness, logging};

/// A token that the first SIGTERM or SIGINT cancels. Before that, the process is no longer ready, and goes on
/// serving for `delay`. A second signal ends the process at once, with status 128 + signal number.
pub fn shutdown_on_signal(delay: Duration, readiness: Readiness) -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let first = token.clone();
    Signals::listen()?.handle(async move |mut signals| {
        signals.next().await;
        readiness.stop();
        tracing::info!(?delay, "stopping; a second signal stops at once");
        let delayed = async {
            sleep(delay).await;
            first.cancel();
            pending().await
        };
        tokio::select! {
            signal = signals.next() => signal,
            never = delayed => never,
        }
    })?;
    Ok(token)
}

/// Has the first SIGTERM or SIGINT end the process, with status 128 + signal number. Without a handler, the first
/// process of a container would go on.
pub fn exit_on_signal() -> io::Result<()> {
    Signals::listen()?.handle(async |mut signals| signals.next().await)
}

/// SIGTERM and SIGINT, which are handled from when it is made.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(guard);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Runs `handle` on a thread, and ends the process with the signal that it returns.
    fn handle(self, handle: impl AsyncFnOnce(Pending) -> i32 + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name("signals".into());
        thread.spawn(move || {
            let Self {
                runtime,
                terminate,
                interrupt,
            } = self;
            let signal = runtime.block_on(handle(Pending {
                terminate,
                interrupt,
            }));
            logging::flush();
            exit(128 + signal);
        })?;
        Ok(())
    }
}

/// The signals that are still to come.
struct Pending {
    terminate: Signal,
    interrupt: Signal,
}

impl Pending {
    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
        }
    }
}
