//! A peer that writes messages of the RPC protocol which no library would.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use capnp::message::{Builder, ReaderOptions};
use capnp::traits::HasTypeId as _;
use capnp_rpc::rpc_capnp::{call, message, payload, return_};
use users_rpc::users_capnp::users;

/// How long a flood goes on when the service takes all of it.
const FLOOD: Duration = Duration::from_secs(5);
/// Bytes to write at once.
const BATCH: usize = 64 * 1024;

/// Methods of `Users`, by their ordinals.
pub const CREATE_USER: u16 = 0;
pub const GET_USER: u16 = 1;
pub const LIST_USERS: u16 = 2;
pub const HEALTH: u16 = 3;
pub const DIRECTORY: u16 = 5;
pub const CREATE_USERS: u16 = 6;
pub const NO_METHOD: u16 = 999;

/// The question of the bootstrap with which every peer begins.
pub const BOOTSTRAP: u32 = 0;

/// Connects and asks for the bootstrap capability.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    stream.write_all(&bootstrap(BOOTSTRAP)).unwrap();
    stream
}

/// Writes up to `count` messages until the service takes no more, closes or the time is up; returns how
/// many there were.
pub fn flood(stream: &mut TcpStream, count: u32, message: impl Fn(u32) -> Vec<u8>) -> u32 {
    let end = Instant::now() + FLOOD;
    let mut batch = Vec::new();
    for number in 1..=count {
        batch.extend(message(number));
        if (batch.len() >= BATCH || number == count)
            && (stream.write_all(&batch).is_err() || Instant::now() > end)
        {
            return number;
        }
        if batch.len() >= BATCH {
            batch.clear();
        }
    }
    count
}

/// Reads what the service says, in a thread of its own, until it closes.
pub fn discard_answers(stream: &TcpStream) -> JoinHandle<io::Result<u64>> {
    let mut answers = stream.try_clone().unwrap();
    thread::spawn(move || io::copy(&mut answers, &mut io::sink()))
}

fn encode(fill: impl FnOnce(message::Builder)) -> Vec<u8> {
    let mut message = Builder::new_default();
    fill(message.init_root());
    capnp::serialize::write_message_to_words(&message)
}

pub fn bootstrap(question: u32) -> Vec<u8> {
    encode(|message| message.init_bootstrap().set_question_id(question))
}

pub fn finish(question: u32) -> Vec<u8> {
    finish_and(question, true)
}

/// Finishes a question, and keeps the capabilities in its answer.
pub fn finish_and_keep(question: u32) -> Vec<u8> {
    finish_and(question, false)
}

fn finish_and(question: u32, release_capabilities: bool) -> Vec<u8> {
    encode(|message| {
        let mut finish = message.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(release_capabilities);
    })
}

/// Releases the one reference to a capability of the service.
pub fn release(capability: u32) -> Vec<u8> {
    encode(|message| {
        let mut release = message.init_release();
        release.set_id(capability);
        release.set_reference_count(1);
    })
}

/// Reads until the answer to a question comes, and returns what `read` makes of its payload.
pub fn answer<T>(stream: &mut TcpStream, question: u32, read: impl Fn(payload::Reader) -> T) -> T {
    answer_and_size(stream, question, read).0
}

/// The same, and the bytes of the answer's message.
pub fn answer_and_size<T>(
    stream: &mut TcpStream,
    question: u32,
    read: impl Fn(payload::Reader) -> T,
) -> (T, usize) {
    loop {
        let message = capnp::serialize::read_message(&mut *stream, ReaderOptions::new()).unwrap();
        let size = message.size_in_words() * 8;
        let message: message::Reader = message.get_root().unwrap();
        if let message::Return(Ok(answer)) = message.which().unwrap()
            && answer.get_answer_id() == question
        {
            let Ok(return_::Results(payload)) = answer.which() else {
                panic!("question {question} has no results");
            };
            return (read(payload.unwrap()), size);
        }
    }
}

pub fn abort(reason: &str) -> Vec<u8> {
    encode(|message| message.init_abort().set_reason(reason))
}

/// A call of a method on the result of the question `target`. `more` adds to it.
pub fn call(question: u32, target: u32, method: u16, more: impl FnOnce(call::Builder)) -> Vec<u8> {
    encode(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.set_interface_id(users::Client::TYPE_ID);
        call.set_method_id(method);
        let mut promise = call.reborrow().init_target().init_promised_answer();
        promise.set_question_id(target);
        more(call);
    })
}
