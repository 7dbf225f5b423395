//! The rules of the guard, by topic, and the guard of a real connection.

mod costs;
mod draining;
mod incoming;
mod reading;

use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::FutureExt as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use super::*;
use crate::transport::options::{MEMORY_OF_PEERS, SHARES};
use crate::transport::{client, guarded_server};
use crate::users_capnp::users::{self, CreateUserParams, CreateUserResults};

/// On a clock that stands still, and jumps to the next timer when everybody waits.
fn block_on(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    let builder = builder.enable_time().start_paused(true);
    let runtime = builder.build_local(LocalOptions::default()).unwrap();
    runtime.block_on(test);
}

/// What a guard sees of its peer, and the memory that it shares with others.
struct Peer {
    guard: Rc<PeerGuard>,
    memory: PeerMemory,
}

impl Peer {
    fn new() -> Self {
        let memory = PeerMemory::default();
        let guard = PeerGuard::new(memory.clone());
        Self { guard, memory }
    }

    /// A peer that may hold no more than any may, because others hold everything.
    fn among_others() -> Self {
        let peer = Self::new();
        peer.others_take(MEMORY_OF_PEERS);
        peer
    }

    fn others_take(&self, bytes: usize) {
        self.memory.change(0, bytes);
    }

    fn others_release(&self, bytes: usize) {
        self.memory.change(bytes, 0);
    }

    /// Bytes that all peers hold as far as the process has been told, rounded up to a multiple of `SHARES`.
    fn told(&self) -> usize {
        MEMORY_OF_PEERS - self.memory.share() * SHARES
    }

    /// The same when the next message is about to be read.
    async fn held(&self) -> usize {
        self.guard.room().await.unwrap();
        self.told()
    }

    /// Asks in a message that is so small that it costs nothing by itself.
    fn asks(&self, id: u32) {
        self.guard.on_question(id, 0, None).unwrap();
    }

    fn asks_of(&self, id: u32, target: u32) -> capnp::Result<()> {
        self.guard.on_question(id, 0, Some(target))
    }

    /// Gets an answer that costs nothing by itself, beside the capabilities in it, and has to be finished.
    fn is_answered(&self, id: u32, exports: &[u32]) {
        self.guard.on_answer(id, 0, true, exports.to_vec());
    }

    fn is_to_be_drained(&self) -> bool {
        now(self.guard.exceeded()).is_some()
    }
}

/// What a future completes with at once, if it does.
fn now<F: Future>(future: F) -> Option<F::Output> {
    future.now_or_never()
}

/// Never answers a create, and refuses everything else.
struct Silent;

impl users::Server for Silent {
    async fn create_user(
        self: Rc<Self>,
        _: CreateUserParams,
        _: CreateUserResults,
    ) -> capnp::Result<()> {
        futures::future::pending().await
    }
}

#[test]
fn connection_gives_its_memory_back_whatever_its_peer_left_open() {
    let memory = PeerMemory::default();
    let everything = memory.share();
    block_on(async {
        let (near, far) = tokio::io::duplex(1024);
        let service: users::Client = capnp_rpc::new_client(Silent);
        let guard = PeerGuard::new(memory.clone());
        let served = spawn_local(guarded_server(far, service.client, guard).system);
        let mut connection = client(near);
        let users: users::Client = connection.system.bootstrap(Side::Server);
        let disconnector = connection.system.get_disconnector();
        spawn_local(connection.system);

        let in_flight: Vec<_> = (0..100)
            .map(|_| users.create_user_request().send())
            .collect();
        let refused = users.get_user_request().send().promise.await;
        refused.map(drop).unwrap_err();
        assert!(memory.share() < everything);
        drop(in_flight.into_iter().step_by(2).collect::<Vec<_>>());
        let refused = users.get_user_request().send().promise.await;
        refused.map(drop).unwrap_err();
        assert!(memory.share() < everything);

        disconnector.await.unwrap();
        let _ = served.await.unwrap();
    });
    assert_eq!(memory.share(), everything);
}
