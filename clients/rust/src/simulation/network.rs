//! A network in memory: connections whose bytes take their time, stop, or end, as a story wants it.

use std::{cell::Cell, cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use fastrand::Rng;
use futures::join;
use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::trace::{Event, ReplicaId, Trace};
use super::wire_tap::WireTap;

/// The usual time from one end to the other, at most.
const LATENCY_MS: u64 = 3;
/// The longest, of one chunk in fifty.
const MAX_LATENCY_MS: u64 = 20;
/// The longest time from one end to the other.
pub const MAX_LATENCY: Duration = Duration::from_millis(MAX_LATENCY_MS);
/// Bytes that one end may send before the network takes them.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes that it takes at once.
const READ_SIZE: usize = 4 * 1024;

/// A client's end of a connection, and the time to the end of its certificates.
type Accepted = (DuplexStream, Option<Duration>);

/// The network as clients dial it. It can go to any thread, as a resolver can.
#[derive(Clone)]
pub struct SimulatedDial(mpsc::UnboundedSender<DialRequest>);

struct DialRequest {
    addr: SocketAddr,
    answer: oneshot::Sender<io::Result<Accepted>>,
}

impl SimulatedDial {
    /// The network's end has the requests.
    pub fn new() -> (Self, DialRequests) {
        let (send, received) = mpsc::unbounded_channel();
        (Self(send), DialRequests(received))
    }

    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Accepted> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(DialRequest { addr, answer });
        // Nobody answers a request whose replica drops it.
        answered.await.map_err(io::Error::other)?
    }
}

/// The requests to connect that clients make.
pub struct DialRequests(mpsc::UnboundedReceiver<DialRequest>);

impl DialRequests {
    /// Opens the routes' connections, for as long as there are clients.
    pub async fn run(mut self, routes: Vec<Rc<Route>>) {
        while let Some(request) = self.0.recv().await {
            let route = routes.iter().find(|route| route.addr == request.addr);
            let route = route.unwrap().clone();
            route.trace.record(Event::Dialled(route.replica));
            spawn_local(async move {
                let connected = route.connect().await;
                // The client may have stopped waiting.
                let _ = request.answer.send(connected);
            });
        }
    }
}

/// The two ways of a route.
#[derive(Clone, Copy)]
pub enum Way {
    ToReplica,
    ToClient,
}

/// The network between the clients and one replica.
pub struct Route {
    pub replica: ReplicaId,
    pub addr: SocketAddr,
    pub trace: Trace,
    rng: RefCell<Rng>,
    /// Whether packets are dropped, by their way. TCP sends them again until they arrive.
    cut: Cell<[bool; 2]>,
    /// The replica's process is stopped; its kernel is not, and accepts.
    is_frozen: Cell<bool>,
    /// What is to be done with the replica's end of a connection. `None`: no process listens.
    listener: RefCell<Option<mpsc::UnboundedSender<DuplexStream>>>,
    /// The time to the end of a connection's certificates, if there are any.
    lifetime: Option<Duration>,
    connections: RefCell<Vec<Rc<SimulatedConnection>>>,
    changed: Notify,
}

/// A connection's faults of its own.
#[derive(Default)]
struct SimulatedConnection {
    reset: CancellationToken,
    is_forgotten: Cell<bool>,
}

impl Route {
    pub fn new(replica: ReplicaId, rng: Rng, lifetime: Option<Duration>, trace: Trace) -> Self {
        let port = 1 + u16::try_from(replica).unwrap();
        Self {
            replica,
            addr: ([10, 0, 0, 1], port).into(),
            trace,
            rng: RefCell::new(rng),
            cut: Cell::default(),
            is_frozen: Cell::default(),
            listener: RefCell::default(),
            lifetime,
            connections: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// Has connections accepted, or refused by a machine without a process that listens.
    pub fn set_listener(&self, listener: Option<mpsc::UnboundedSender<DuplexStream>>) {
        *self.listener.borrow_mut() = listener;
    }

    pub fn set_cut(&self, cut: [bool; 2]) {
        self.cut.set(cut);
        self.changed.notify_waiters();
    }

    pub fn set_frozen(&self, is_frozen: bool) {
        self.is_frozen.set(is_frozen);
        self.changed.notify_waiters();
    }

    /// Waits until the replica's process runs.
    pub async fn thawed(&self) {
        while self.is_frozen.get() {
            self.changed.notified().await;
        }
    }

    /// Breaks all connections, as both ends notice.
    pub fn reset(&self) {
        for connection in self.connections.take() {
            connection.reset.cancel();
        }
    }

    /// Carries nothing of the present connections any more, as a router that has lost its table.
    pub fn forget(&self) {
        for connection in self.connections.borrow().iter() {
            connection.is_forgotten.set(true);
        }
    }

    fn latency(&self) -> Duration {
        let mut rng = self.rng.borrow_mut();
        let limit = if rng.u8(..50) == 0 {
            MAX_LATENCY_MS
        } else {
            LATENCY_MS
        };
        Duration::from_millis(rng.u64(..=limit))
    }

    async fn connect(self: Rc<Self>) -> io::Result<Accepted> {
        sleep(self.latency()).await;
        while self.cut.get() != [false; 2] {
            self.changed.notified().await;
        }
        let listener = self.listener.borrow().clone();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = listener.ok_or_else(refused)?;

        let (client, client_side) = duplex(SEND_BUFFER);
        let (replica, replica_side) = duplex(SEND_BUFFER);
        let _ = listener.send(replica);
        let connection = Rc::new(SimulatedConnection::default());
        self.connections.borrow_mut().push(connection.clone());
        let (from_client, to_client) = split(client_side);
        let (from_replica, to_replica) = split(replica_side);
        spawn_local({
            let (route, connection) = (self.clone(), connection.clone());
            async move {
                let up = route.carry(Way::ToReplica, &connection, from_client, to_replica);
                let down = route.carry(Way::ToClient, &connection, from_replica, to_client);
                let both = async { join!(up, down) };
                connection.reset.run_until_cancelled(both).await;
            }
        });
        Ok((client, self.lifetime))
    }

    /// Carries the bytes of one way to its end, each chunk after a while and all in order.
    async fn carry(
        &self,
        way: Way,
        connection: &SimulatedConnection,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
    ) {
        let (send, mut received) = mpsc::unbounded_channel();

        let read = async move {
            let mut tap = WireTap::default();
            let mut buffer = vec![0; READ_SIZE];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let chunk = &buffer[..length];
                if matches!(way, Way::ToReplica) {
                    for call in tap.calls_in(chunk) {
                        let replica = self.replica;
                        self.trace.record(Event::Attempted { call, replica });
                    }
                }
                let _ = send.send((Instant::now() + self.latency(), chunk.to_vec()));
            }
        };

        let write = async {
            while let Some((due, chunk)) = received.recv().await {
                sleep_until(due).await;
                self.opened(way, connection).await;
                // The other end may be gone.
                let _ = to.write_all(&chunk).await;
            }
            self.opened(way, connection).await;
            let _ = to.shutdown().await;
        };

        join!(read, write);
    }

    async fn opened(&self, way: Way, connection: &SimulatedConnection) {
        while self.cut.get()[way as usize] || self.is_frozen.get() || connection.is_forgotten.get()
        {
            self.changed.notified().await;
        }
    }
}
