//! Worker threads, each with a local runtime and its own share of the connections, and the thread
//! that accepts for them. A request never crosses threads on its way through.

use std::{future::Future, io, net::TcpListener, rc::Rc, sync::Arc, thread, time::Duration};

use ::metrics::{describe_gauge, gauge};
use anyhow::{Context as _, anyhow};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{limits, metrics, places::Places, settings::ProcessSettings};

pub use crate::limits::raise_open_files_limit;

/// Connections that can wait to be accepted, as far as the kernel allows (Linux: `net.core.somaxconn`).
/// Of a burst, those that find it full try again after a second.
const MAX_BACKLOG: u16 = 4096;

/// How long a thread of a worker's blocking pool stays without work: for ever. When the system refuses a new thread for
/// a moment, tokio panics if there is none, and is content to wait if there is one.
const BLOCKING_THREAD_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The work of one thread. A worker is made on its thread and never leaves it.
pub trait Worker: 'static {
    /// Serves one connection until it ends. Once `draining` is cancelled, finishes what is in flight and
    /// then ends it. `place_wanted` tells one of the connections that wait for it that a new connection needs
    /// its place.
    fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        draining: CancellationToken,
        place_wanted: Arc<Notify>,
    ) -> impl Future<Output = ()>;
}

/// An accepted connection, and its place among those of the process and of its worker, which it holds
/// until it ends.
struct Accepted {
    stream: std::net::TcpStream,
    place: (OwnedSemaphorePermit, Arc<()>, OpenConnection),
}

/// A connection as operators see it: one of the open ones until it is dropped.
struct OpenConnection;

impl OpenConnection {
    fn new() -> Self {
        gauge!("server_open_connections").increment(1.0);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        gauge!("server_open_connections").decrement(1.0);
    }
}

/// Describes the metrics of connections, and lets them begin at zero.
fn register_metrics(max_connections: usize) {
    describe_gauge!(
        "server_open_connections",
        "Connections of clients that are open."
    );
    describe_gauge!(
        "server_max_connections",
        "The most connections that are open at once: MAX_CONNECTIONS. Further ones wait."
    );
    gauge!("server_open_connections").increment(0.0);
    gauge!("server_max_connections").set(metrics::count(max_connections));
}

/// The workers as the accepting thread sees them.
#[derive(Default)]
struct Workers {
    /// Where each takes its connections, and what each of its open connections has a clone of.
    workers: Vec<(mpsc::UnboundedSender<Accepted>, Arc<()>)>,
    /// Who is next when several have equally few.
    turn: usize,
}

impl Workers {
    fn add(&mut self) -> mpsc::UnboundedReceiver<Accepted> {
        let (sender, accepted) = mpsc::unbounded_channel();
        self.workers.push((sender, Arc::default()));
        accepted
    }

    /// Gives a connection to the worker that has the fewest, because the links of gateways stay for days and
    /// would pile up. Returns whether that worker is alive.
    fn give(&mut self, stream: std::net::TcpStream, permit: OwnedSemaphorePermit) -> bool {
        let count = self.workers.len();
        let turns = (self.turn..self.turn + count).map(|turn| turn % count);
        let fewest = turns.min_by_key(|worker| Arc::strong_count(&self.workers[*worker].1));
        let Some(worker) = fewest else {
            return false;
        };
        self.turn = worker + 1;
        let (sender, open) = &self.workers[worker];
        let place = (permit, open.clone(), OpenConnection::new());
        sender.send(Accepted { stream, place }).is_ok()
    }
}

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
    register_metrics(settings.max_connections);

    let (drain_timeout, make) = (settings.drain_timeout, &make);
    let places = &Places::new(settings.max_connections);
    thread::scope(|scope| {
        let (mut workers, mut threads) = (Workers::default(), Vec::new());
        for index in 0..count(settings) {
            let accepted = workers.add();
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn_scoped(scope, move || {
                work(accepted, drain_timeout, shutdown, places, make)
            });
            threads.push(thread.context("a worker thread cannot start")?);
        }

        // When it ends there are no more connections, and the workers drain.
        let accepting = accept(listener, places, workers, shutdown);

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
    places: &Places,
    make: impl Fn() -> W,
) -> anyhow::Result<()> {
    // A worker that fails takes the process down instead of leaving it half alive.
    let stop_all = shutdown.clone().drop_guard();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(BLOCKING_THREAD_LIFE)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let worker = Rc::new(make());
        let connections = TaskTracker::new();
        while let Some(Accepted { stream, place }) = accepted.recv().await {
            let (worker, draining) = (worker.clone(), shutdown.clone());
            let place_wanted = places.wanted();
            connections.spawn_local(async move {
                match TcpStream::from_std(stream) {
                    Ok(stream) => worker.serve(stream, draining, place_wanted).await,
                    Err(error) => tracing::warn!(%error, "a connection cannot be served"),
                }
                drop(place);
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

/// Accepts until `shutdown`, and gives connections to the workers.
fn accept(
    listener: TcpListener,
    places: &Places,
    mut workers: Workers,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let next = async {
                // The place comes first: a connection that could not be served is not accepted.
                let place = places.take().await?;
                let stream = next_connection(&listener, || places.ask_for_one()).await?;
                anyhow::Ok((stream, place))
            };
            let (stream, place) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = next => accepted?,
            };
            if !workers.give(stream, place) {
                break;
            }
        }

        // The connections that wait in the backlog are served too: closing the listener would reset them.
        let listener = listener.into_std()?;
        for _ in 0..MAX_BACKLOG {
            let Some(place) = places.try_take() else {
                break;
            };
            let Ok((stream, _)) = listener.accept() else {
                break;
            };
            stream.set_nonblocking(true)?;
            workers.give(stream, place);
        }
        Ok(())
    })
}

/// The next connection, however long it takes: an error that time mends is waited out, and `make_room` helps.
pub(crate) async fn next_connection(
    listener: &tokio::net::TcpListener,
    make_room: impl Fn(),
) -> io::Result<std::net::TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream.into_std(),
            // The client went away while it was queued.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of file descriptors or memory: connections that end will free some.
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again");
                make_room();
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_goes_to_the_worker_that_has_the_fewest() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let places = Places::new(10);
        let mut workers = Workers::default();
        let mut queues = [workers.add(), workers.add()];
        // Gives out so many, and returns what each worker got.
        let mut give = |connections| {
            for _ in 0..connections {
                let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                assert!(workers.give(stream, places.try_take().unwrap()));
            }
            let got = |queue: &mut mpsc::UnboundedReceiver<_>| {
                std::iter::from_fn(|| queue.try_recv().ok()).collect::<Vec<Accepted>>()
            };
            queues.each_mut().map(got)
        };

        let [first, _second] = give(4);
        assert_eq!(first.len(), 2);
        drop(first);
        let next = give(2);
        assert_eq!(next.each_ref().map(Vec::len), [2, 0]);
        assert_eq!(give(2).each_ref().map(Vec::len), [1, 1]);
    }
}
