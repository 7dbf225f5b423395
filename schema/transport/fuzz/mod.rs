//! Peers that send what chance makes up. Whatever it is, the connection does not panic, ends soon after its peer is
//! gone, holds no more memory than it may while it lasts, and none afterwards.

mod conversation;

use std::rc::Rc;
use std::time::Duration;

use bolero::{ValueGenerator, check, produce};
use tokio::io::{AsyncWriteExt as _, copy, duplex, sink, split};
use tokio::runtime::LocalRuntime;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use conversation::Conversation;

use super::options::{MEMORY_OF_PEERS, SHARES};
use super::{PeerGuard, PeerMemory, guarded_server};
use crate::users_capnp::{directory_handle, user_directory, users};

/// What a peer costs at most, as the documents say.
const MAX_HELD: usize = 8 * 1024 * 1024;
/// How long a connection may outlive its peer.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Four for each message.
const MAX_INPUT: usize = 512;
/// Longest that a peer waits for a service that does not read.
const PATIENCE: Duration = Duration::from_millis(3);

/// Up to so many bytes; by itself the library would make no more than 64.
fn up_to(length: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=length)
}

/// Answers a method at once, with capabilities, late, never, or not at all.
struct Service;

impl users::Server for Service {
    async fn create_user(
        self: Rc<Self>,
        _: users::CreateUserParams,
        _: users::CreateUserResults,
    ) -> capnp::Result<()> {
        std::future::pending().await
    }

    async fn get_user(
        self: Rc<Self>,
        params: users::GetUserParams,
        mut results: users::GetUserResults,
    ) -> capnp::Result<()> {
        let id = params.get()?.get_id()?;
        results.get().init_user().set_id(id);
        Ok(())
    }

    async fn list_users(
        self: Rc<Self>,
        _: users::ListUsersParams,
        mut results: users::ListUsersResults,
    ) -> capnp::Result<()> {
        for _ in 0..8 {
            yield_now().await;
        }
        let mut users = results.get().init_page().init_users(100);
        for user in 0..100 {
            users.reborrow().get(user).set_name("Jane Doe");
        }
        Ok(())
    }

    async fn directory(
        self: Rc<Self>,
        _: users::DirectoryParams,
        mut results: users::DirectoryResults,
    ) -> capnp::Result<()> {
        let mut results = results.get();
        results.set_directory(capnp_rpc::new_client(Directory));
        results.set_handle(capnp_rpc::new_client(Directory));
        Ok(())
    }
}

/// A capability with nothing to offer.
struct Directory;

impl user_directory::Server for Directory {}

impl directory_handle::Server for Directory {}

/// How a peer behaves, beside what it sends.
struct Peer {
    /// Bytes that it sends, and takes, at once.
    piece: usize,
    reads: bool,
}

impl Peer {
    fn from_byte(byte: u8) -> Self {
        Self {
            piece: 1 << (byte & 0xf),
            reads: byte & 0x10 == 0,
        }
    }

    /// Says this to a service, then hangs up.
    fn say(&self, bytes: &[u8]) {
        let memory = PeerMemory::default();
        let everything = memory.share();
        LocalRuntime::new().unwrap().block_on(async {
            let (near, far) = duplex(self.piece);
            let service: users::Client = capnp_rpc::new_client(Service);
            let guard = PeerGuard::new(memory.clone());
            let connection = guarded_server(far, service.client, guard);
            let system = spawn_local(connection.system);

            let (mut answers, mut requests) = split(near);
            let reads = self.reads;
            let reading = spawn_local(async move {
                if reads {
                    let _ = copy(&mut answers, &mut sink()).await;
                }
                answers
            });
            // The service may close before it has read everything.
            let _ = timeout(PATIENCE, requests.write_all(bytes)).await;
            for _ in 0..16 {
                yield_now().await;
            }
            let held = MEMORY_OF_PEERS - memory.share() * SHARES;
            assert!(held < MAX_HELD, "the peer holds {held} bytes");

            let _ = requests.shutdown().await;
            if !reads {
                drop((reading.await, requests));
            }
            let system = timeout(MAX_WAIT, system)
                .await
                .expect("the connection ends");
            // An error is the peer's fault, a panic is ours.
            let _ = system.expect("nothing panics");
            let writer = timeout(MAX_WAIT, connection.writer).await;
            let _ = writer.expect("the writer ends").expect("nothing panics");
        });
        assert_eq!(memory.share(), everything, "the peer is gone");
    }
}

#[test]
fn arbitrary_bytes_cost_only_their_own_connection() {
    check!().with_generator(up_to(MAX_INPUT)).for_each(|input| {
        let Some((peer, bytes)) = input.split_first() else {
            return;
        };
        Peer::from_byte(*peer).say(bytes);
    });
}

#[test]
fn messages_in_any_order_cost_only_their_own_connection() {
    check!().with_generator(up_to(MAX_INPUT)).for_each(|input| {
        let Some((peer, bytes)) = input.split_first() else {
            return;
        };
        Peer::from_byte(*peer).say(&Conversation::from_bytes(bytes).said);
    });
}

#[test]
fn damaged_messages_cost_only_their_own_connection() {
    check!().with_generator(up_to(MAX_INPUT)).for_each(|input| {
        let Some((&[peer, a, b, damage], bytes)) = input.split_first_chunk() else {
            return;
        };
        let mut said = Conversation::from_bytes(bytes).said;
        if !said.is_empty() {
            let place = usize::from(u16::from_le_bytes([a, b])) % said.len();
            said[place] ^= damage;
        }
        Peer::from_byte(peer).say(&said);
    });
}
