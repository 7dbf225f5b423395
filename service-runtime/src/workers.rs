//! Worker threads, each with a local runtime and its own share of the connections, and the thread
//! that accepts for them. A request never crosses threads on its way through.

use std::{future::Future, io, net::TcpListener, rc::Rc, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::settings::ProcessSettings;

/// Connections that can wait to be accepted, as far as the kernel allows (Linux: `net.core.somaxconn`).
/// Of a burst, those that find it full try again after a second.
const MAX_BACKLOG: u16 = 4096;

/// What one worker thread does. It is made on that thread and never leaves it.
pub trait Worker: 'static {
    /// Serves one connection until it ends. Once `draining` is cancelled: finishes what is in
    /// flight, then ends it.
    fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        draining: CancellationToken,
    ) -> impl Future<Output = ()>;
}

/// An accepted connection, and its place among the connections the process may have.
type Accepted = (std::net::TcpStream, OwnedSemaphorePermit);

/// Lets this process open as many files as it may. The usual limit is for programs that use
/// `select(2)`, and lower than the connections of a server.
pub fn raise_open_files_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What cannot be raised shows when the limit is met.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// How many threads `settings` asks for.
#[must_use]
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
    raise_open_files_limit();
    let drain_timeout = settings.drain_timeout;
    let make = &make;
    thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count(settings) {
            let (sender, accepted) = mpsc::unbounded_channel();
            senders.push(sender);
            let work = move || work(accepted, drain_timeout, shutdown, make);
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn_scoped(scope, work);
            threads.push(thread.context("a worker thread cannot start")?);
        }
        let accepting = accept(listener, settings.max_connections, &senders, shutdown);
        // No more connections: the workers drain.
        drop(senders);
        // Whatever ended the accepting, the workers end too.
        shutdown.cancel();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow!("a worker thread panicked"))??;
        }
        accepting
    })
}

fn work<W: Worker>(
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    drain_timeout: Duration,
    shutdown: &CancellationToken,
    make: impl Fn() -> W,
) -> anyhow::Result<()> {
    // A worker that fails takes the process down instead of leaving it half alive.
    let stop_all = shutdown.clone().drop_guard();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
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
            tracing::warn!(
                connections = connections.len(),
                "drain timeout: closing what is left"
            );
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
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(max_connections));
        let mut turns = workers.iter().cycle();
        loop {
            let next = async {
                // The place comes first: a connection that could not be served is not accepted.
                let place = places.clone().acquire_owned().await?;
                anyhow::Ok((next_connection(&listener).await?, place))
            };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = next => accepted?,
            };
            let Some(Ok(())) = turns.next().map(|worker| worker.send(accepted)) else {
                break;
            };
        }
        // What the kernel has accepted by now is served too: closing the listener would reset it.
        let listener = listener.into_std()?;
        for worker in turns.take(MAX_BACKLOG.into()) {
            let Ok(place) = places.clone().try_acquire_owned() else {
                break;
            };
            let Ok((stream, _)) = listener.accept() else {
                break;
            };
            stream.set_nonblocking(true)?;
            let _ = worker.send((stream, place));
        }
        Ok(())
    })
}

async fn next_connection(listener: &tokio::net::TcpListener) -> io::Result<std::net::TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream.into_std(),
            // The client went away while it was queued.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of file descriptors or memory: the connections that are served will free some.
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
