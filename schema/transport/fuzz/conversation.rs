//! Messages of the RPC protocol, in an order that chance makes up.

use capnp::message::Builder;
use capnp::traits::HasTypeId as _;
use capnp_rpc::rpc_capnp::message;

use crate::users_capnp::{user_directory, users};

/// What a peer says. Most of its messages make sense, because the first one that does not ends the connection.
#[derive(Default)]
pub struct Conversation {
    pub said: Vec<u8>,
    /// Questions that it has not finished.
    open: Vec<u32>,
    questions: u32,
}

impl Conversation {
    /// The messages that these bytes stand for, four for each.
    pub fn from_bytes(bytes: &[u8]) -> Self {
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

fn encode(fill: impl FnOnce(message::Builder)) -> Vec<u8> {
    let mut message = Builder::new_default();
    fill(message.init_root());
    capnp::serialize::write_message_to_words(&message)
}
