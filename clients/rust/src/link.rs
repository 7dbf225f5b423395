//! A link to one replica: connecting to it, and noticing that it does not serve or answer.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, time::Duration};

use capnp_rpc::{Disconnector, rpc_twoparty_capnp::Side};
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep, timeout},
};
use users_rpc::transport;

use crate::{
    Resolver,
    health::{UsersCapability, serves},
};

/// How long a replica may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a replica is asked whether it still answers, and how long it may take. `health` is
/// bounded by half of that, whatever the database does.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval for a replica that does not serve.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How soon after news, which can mean that it is needed, a replica is asked or connected to again.
pub const RECHECK_PAUSE: Duration = Duration::from_millis(10);
/// A replica that owes answers and has given none for so long gets new calls only when the others are
/// no better. A process that hangs keeps its connections.
const SILENT_AFTER: Duration = Duration::from_millis(200);

/// A connection to a replica that has answered.
pub struct Link {
    pub client: UsersCapability,
    pub in_flight: Cell<usize>,
    /// When the last answer came, or the oldest call was made if it was alone.
    pub heard: Cell<Instant>,
    /// Whether its last answer was a good one.
    pub serving: Cell<bool>,
}

impl Link {
    /// Counts a call in.
    pub fn begin(&self) {
        if self.in_flight.get() == 0 {
            self.heard.set(Instant::now());
        }
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub fn is_well(&self, now: Instant) -> bool {
        self.serving.get() && (self.in_flight.get() == 0 || now < self.heard.get() + SILENT_AFTER)
    }

    /// Completes when the replica has stopped answering. TCP notices a dead machine, not a process
    /// that hangs.
    pub async fn silence(&self, replicas: &Resolver) {
        loop {
            let interval = if self.serving.get() {
                PING_INTERVAL
            } else {
                RECHECK_INTERVAL
            };
            tokio::select! {
                () = sleep(interval) => {}
                () = replicas.news().notified() => sleep(RECHECK_PAUSE).await,
            }
            match timeout(PING_TIMEOUT, serves(&self.client)).await {
                Ok(answer) => self.serving.set(answer.unwrap_or(false)),
                Err(_) => return,
            }
        }
    }
}

/// A connection whose service has answered.
pub struct Connected {
    pub link: Rc<Link>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), capnp::Error>>,
    /// Ends the connection, which dropping its other parts would not.
    pub disconnector: Disconnector<Side>,
}

/// Connects, and makes sure that a users service is at the other end, by its first answer.
pub async fn connect(addr: SocketAddr) -> io::Result<Connected> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
    transport::set_socket_options(&stream)?;
    let mut system = transport::client(stream).system;
    let client: UsersCapability = system.bootstrap(Side::Server);
    let disconnector = system.get_disconnector();
    let connection = spawn_local(system);
    let error = match timeout(PING_TIMEOUT, serves(&client)).await {
        Ok(Ok(serving)) => {
            let link = Rc::new(Link {
                client,
                in_flight: Cell::new(0),
                heard: Cell::new(Instant::now()),
                serving: Cell::new(serving),
            });
            return Ok(Connected {
                link,
                connection,
                disconnector,
            });
        }
        Ok(Err(error)) => format!("what answers is no users service: {error}"),
        Err(_) => "it accepts connections but does not answer".into(),
    };
    let _ = disconnector.await;
    Err(io::Error::other(error))
}
