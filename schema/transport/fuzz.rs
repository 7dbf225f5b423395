//! Peers that send what chance makes up. Whatever it is, the connection does not panic, ends soon after its peer is
//! gone, holds no more memory than it may while it lasts, and none afterwards.

use std::rc::Rc;
use std::time::Duration;

use bolero::{ValueGenerator, check, produce};
use capnp::message::Builder;
use capnp::traits::HasTypeId as _;
use capnp_rpc::rpc_capnp::message;
use tokio::io::{AsyncWriteExt as _, copy, duplex, sink, split};
use tokio::runtime::LocalRuntime;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

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
const PATIENCE: Duration = Duration::from_millis(20);

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

fn encode(fill: impl FnOnce(message::Builder)) -> Vec<u8> {
    let mut message = Builder::new_default();
    fill(message.init_root());
    capnp::serialize::write_message_to_words(&message)
}

/// What a peer says. Most of its messages make sense, because the first one that does not ends the connection.
#[derive(Default)]
struct Conversation {
    said: Vec<u8>,
    /// Questions that it has not finished.
    open: Vec<u32>,
    questions: u32,
}

impl Conversation {
    /// The messages that these bytes stand for, four for each.
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut conversation = Self::default();
        let (messages, _) = bytes.as_chunks();
        for message in messages {
            conversation.add(*message);
        }
        conversation
    }

    fn add(&mut self, [kind, pick, target, more]: [u8; 4]) {
        let place = usize::from(pick) % self.open.len().max(1);
        let message = match kind {
            _ if self.open.is_empty() => self.bootstrap(),
            0..4 => self.bootstrap(),
            4..160 => self.call(kind, self.open[place], target, more),
            160..216 => finish(self.open.swap_remove(place), more & 1 == 0),
            216..248 => release(u32::from(target % 4), 1 + u32::from(more / 128)),
            248..=255 => stray(kind, u32::from(target % 4)),
        };
        self.said.extend(message);
    }

    fn ask(&mut self) -> u32 {
        self.questions += 1;
        self.open.push(self.questions);
        self.questions
    }

    fn bootstrap(&mut self) -> Vec<u8> {
        let question = self.ask();
        encode(|message| message.init_bootstrap().set_question_id(question))
    }

    /// A call of something in the answer to the question `answer`, or of a capability.
    fn call(&mut self, kind: u8, answer: u32, target: u8, more: u8) -> Vec<u8> {
        let question = match more {
            // One that is in use.
            255 => answer,
            _ => self.ask(),
        };
        encode(|message| {
            let mut call = message.init_call();
            call.set_question_id(question);
            call.set_method_id(u16::from(kind % 7));
            call.set_interface_id(match more & 3 {
                0 => user_directory::Client::TYPE_ID,
                _ => users::Client::TYPE_ID,
            });

            let mut to = call.reborrow().init_target();
            if target >= 224 {
                to.set_imported_cap(u32::from(target % 4));
            } else {
                let mut to = to.init_promised_answer();
                to.set_question_id(answer);
                let steps = [0, 0, 1, 1, 1, 1, 8, 9][usize::from(target >> 2) % 8];
                let mut transform = to.init_transform(steps);
                for step in 0..steps {
                    let mut step = transform.reborrow().get(step);
                    step.set_get_pointer_field(u16::from(target % 4));
                }
            }
            match more {
                253 => call.init_send_results_to().set_yourself(()),
                254 => drop(call.init_params().init_cap_table(1)),
                128..160 => {
                    let content = call.init_params().get_content();
                    let _ = content.initn_as::<capnp::data::Builder>(u32::from(more) * 64);
                }
                _ => {}
            }
        })
    }
}

fn finish(question: u32, releases: bool) -> Vec<u8> {
    encode(|message| {
        let mut finish = message.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(releases);
    })
}

fn release(capability: u32, count: u32) -> Vec<u8> {
    encode(|message| {
        let mut release = message.init_release();
        release.set_id(capability);
        release.set_reference_count(count);
    })
}

/// A message that no caller has a use for.
fn stray(kind: u8, id: u32) -> Vec<u8> {
    encode(|message| match kind % 8 {
        0 => message.init_return().set_answer_id(id),
        1 => message.init_resolve().set_promise_id(id),
        2 => message.init_disembargo().init_target().set_imported_cap(id),
        3 => message.init_abort().set_reason("that is all"),
        4 => message.init_bootstrap().set_question_id(id),
        5 => message.init_finish().set_question_id(id),
        6 => message.init_release().set_id(id),
        _ => drop(message.init_unimplemented()),
    })
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
