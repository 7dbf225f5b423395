//! Calls that the contract forbids: each ends its connection at once, and is not carried out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use capnp_rpc::rpc_capnp::call;
use e2e::System;
use users_rpc::users_capnp::create_user_response;

use super::memory::fill_in;
use super::raw::{BOOTSTRAP, CREATE_USER, answer, call, connect};

/// Far less than the time after which a connection ends that says too little.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Words of a message: 128 KiB.
const LONGEST: usize = 128 * 1024 / 8;

/// A create with so many bytes of text that the service does not look at, to which `more` adds.
fn create(question: u32, padding: usize, more: impl FnOnce(call::Builder)) -> Vec<u8> {
    call(question, BOOTSTRAP, CREATE_USER, |mut call| {
        fill_in(call.reborrow(), fastrand::u32(..), padding);
        more(call);
    })
}

/// Makes the first create, which is as it should be, and then the second.
fn second_create_ends_the_connection(system: &System, first: &[u8], second: &[u8]) {
    let mut peer = connect(system.users_addr);
    let limit = Some(Duration::from_secs(20));
    peer.set_read_timeout(limit).unwrap();
    peer.write_all(first).unwrap();
    let is_stored = answer(&mut peer, 1, |payload| {
        let response: create_user_response::Reader = payload.get_content().get_as().unwrap();
        response.has_user()
    });
    assert!(is_stored);
    let rows = system.rows();

    let begin = Instant::now();
    peer.write_all(second).unwrap();
    let ended = peer.read_to_end(&mut Vec::new());

    // It may say why before it closes.
    if let Err(error) = ended {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it stays open");
    }
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(system.rows(), rows);
}

/// The words in the segments of a message.
fn words(message: &[u8]) -> usize {
    let mut table = message.chunks_exact(4).map(|bytes| {
        let bytes = bytes.try_into().unwrap();
        u32::from_le_bytes(bytes) as usize
    });
    let segments = table.next().unwrap() + 1;
    table.take(segments).sum()
}

#[test]
fn call_that_is_a_word_too_long_ends_its_connection() {
    let system = System::start();
    // Large enough to have as many segments as the longest.
    let padding = 100_000;
    let padding = padding + (LONGEST - words(&create(1, padding, |_| ()))) * 8;
    let longest = create(1, padding, |_| ());
    let too_long = create(2, padding + 8, |_| ());
    assert_eq!(
        [&longest, &too_long].map(|call| words(call)),
        [LONGEST, LONGEST + 1]
    );
    second_create_ends_the_connection(&system, &longest, &too_long);
}

#[test]
fn call_that_passes_a_capability_ends_its_connection() {
    let system = System::start();
    let with_capability = create(2, 0, |call| {
        let mut capabilities = call.get_params().unwrap().init_cap_table(1);
        capabilities.reborrow().get(0).set_sender_hosted(0);
    });
    second_create_ends_the_connection(&system, &create(1, 0, |_| ()), &with_capability);
}

#[test]
fn call_whose_results_are_not_for_its_caller_ends_its_connection() {
    let system = System::start();
    let for_the_service = create(2, 0, |call| call.get_send_results_to().set_yourself(()));
    let for_another = create(2, 0, |call| {
        call.get_send_results_to().init_third_party();
    });
    for second in [for_the_service, for_another] {
        second_create_ends_the_connection(&system, &create(1, 0, |_| ()), &second);
    }
}
