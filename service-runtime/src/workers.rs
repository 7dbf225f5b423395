//! Worker threads, each with a local runtime and its own share of the connections, and the thread
//! that accepts for them. A request never crosses threads on its way through.

use std::{future::Future, io, net::TcpListener, rc::Rc, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalRuntime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{limits, settings::ProcessSettings};

pub use crate::limits::raise_open_files_limit;

/// Connections that can wait to be accepted, as far as the kernel allows (Linux: `net.core.somaxconn`).
/// Of a burst, those that find it full try again after a second.
const MAX_BACKLOG: u16 = 4096;

/// The work of one thread. A worker is made on its thread and never leaves it.
pub trait Worker: 'static {
    /// Serves one connection until it ends. Once `draining` is cancelled, finishes what is in flight and
    /// then ends it.
    fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        draining: CancellationToken,
    ) -> impl Future<Output = ()>;
}

/// An accepted connection, and its permit among the connections that the process may have.
type Accepted = (std::net::TcpStream, OwnedSemaphorePermit);

/// How many threads `settings` asks for.
pub fn count(settings: &ProcessSettings) -> usize {
    match settings.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Serves the connections of `listener` on worker threads until `shutdown`, then drains them.
///
/// `make` makes the worker of each thread, on it and inside its runtime. Returns when the last
/// connection has ended, or after the drain timeout; fails when a thread cannot start or panics.
pub fn run<W: Worker>(
    listener: TcpListener,
    settings: &ProcessSettings,
    shutdown: &CancellationToken,
    make: impl Fn() -> W + Send + Sync,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    // The standard library asks for 128.
    SockRef::from(&listener).listen(MAX_BACKLOG.into())?;
    limits::raise_open_files_limit();

    let (drain_timeout, make) = (settings.drain_timeout, &make);
    thread::scope(|scope| {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count(settings) {
            let (sender, accepted) = mpsc::unbounded_channel();
            senders.push(sender);
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let thread =
                thread.spawn_scoped(scope, move || work(accepted, drain_timeout, shutdown, make));
            threads.push(thread.context("a worker thread cannot start")?);
        }

        let accepting = accept(listener, settings.max_connections, &senders, shutdown);

        // Without senders there are no more connections, and the workers drain.
        drop(senders);
        // Whatever ended the accepting, the workers end too.
        shutdown.cancel();
        for thread in threads {
            let worked = thread.join();
            worked.map_err(|_| anyhow!("a worker thread panicked"))??;
        }
        accepting
    })
}

/// Serves the connections of one thread, and then drains them.
fn work<W: Worker>(
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    drain_timeout: Duration,
    shutdown: &CancellationToken,
    make: impl Fn() -> W,
) -> anyhow::Result<()> {
    // A worker that fails takes the process down instead of leaving it half alive.
    let stop_all = shutdown.clone().drop_guard();
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async {
        let worker = Rc::new(make());
        let connections = TaskTracker::new();
        while let Some((stream, permit)) = accepted.recv().await {
            let (worker, draining) = (worker.clone(), shutdown.clone());
            connections.spawn_local(async move {
                match TcpStream::from_std(stream) {
                    Ok(stream) => worker.serve(stream, draining).await,
                    Err(error) => tracing::warn!(%error, "a connection cannot be served"),
                }
                drop(permit);
            });
        }

        connections.close();
        if timeout(drain_timeout, connections.wait()).await.is_err() {
            let connections = connections.len();
            tracing::warn!(connections, "drain timeout: closing what is left");
        }
    });
    // Blocking work that outlives the drain is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    stop_all.disarm();
    Ok(())
}

/// Accepts until `shutdown`, and hands connections to the workers in turn.
fn accept(
    listener: TcpListener,
    max_connections: usize,
    workers: &[mpsc::UnboundedSender<Accepted>],
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(max_connections));
    let mut turns = workers.iter().cycle();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let next = async {
                // The permit comes first: a connection that could not be served is not accepted.
                let permit = permits.clone().acquire_owned().await?;
                anyhow::Ok((next_connection(&listener).await?, permit))
            };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = next => accepted?,
            };
            let Some(Ok(())) = turns.next().map(|worker| worker.send(accepted)) else {
                break;
            };
        }

        // The connections that wait in the backlog are served too: closing the listener would reset them.
        let listener = listener.into_std()?;
        for worker in turns.take(MAX_BACKLOG.into()) {
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                break;
            };
            let Ok((stream, _)) = listener.accept() else {
                break;
            };
            stream.set_nonblocking(true)?;
            let _ = worker.send((stream, permit));
        }
        Ok(())
    })
}

async fn next_connection(listener: &tokio::net::TcpListener) -> io::Result<std::net::TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream.into_std(),
            // The client went away while it was queued.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of file descriptors or memory: connections that end will free some.
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
