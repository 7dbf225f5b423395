//! Peers that misbehave at both ports while the clients work. Nobody checks what they are answered: the
//! clients must not notice them.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::world::World;
use crate::hostile::raw::{BOOTSTRAP, HEALTH, LIST_USERS, bootstrap, call, finish};

/// How long a peer may hold on to a connection that it only blocks.
const HOLD: Duration = Duration::from_millis(300);

/// Misbehaves in one way after another until `stop`.
pub fn run(world: &World, mut rng: Rng, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let which = rng.usize(..2);
        let (addr, words) = if rng.bool() {
            (
                format!("127.0.0.1:{}", world.http(which).port()),
                http(&mut rng),
            )
        } else {
            (world.users_addrs[which].clone(), rpc(&mut rng))
        };
        // What they talk to may be away just now, or end the connection.
        let Ok(mut stream) = TcpStream::connect(addr) else {
            thread::sleep(HOLD);
            continue;
        };
        stream.set_write_timeout(Some(HOLD)).unwrap();
        let _ = stream.write_all(&words);
        thread::sleep(HOLD);
    }
}

/// Requests without a reader, halves of requests, and what is no request.
fn http(rng: &mut Rng) -> Vec<u8> {
    let words: &[u8] = match rng.usize(..4) {
        0 => return b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20),
        1 => b"POST /users HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n",
        2 => {
            b"POST /users HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
               Content-Length: 60000\r\n\r\n{\"email\":"
        }
        _ => b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    };
    words.to_owned()
}

/// Questions without a reader or an end, questions that are given up, halves of messages, and garbage.
fn rpc(rng: &mut Rng) -> Vec<u8> {
    let questions = 1..2000;
    let mut words = bootstrap(BOOTSTRAP);
    match rng.usize(..5) {
        0 => words.extend(questions.flat_map(bootstrap)),
        1 => words.extend(questions.flat_map(|id| call(id, BOOTSTRAP, LIST_USERS, |_| ()))),
        2 => words.extend(
            questions.flat_map(|id| [call(id, BOOTSTRAP, HEALTH, |_| ()), finish(id)].concat()),
        ),
        3 => words.truncate(words.len() / 2),
        _ => words = (0..4096).map(|_| rng.u8(..)).collect(),
    }
    words
}
