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

/// Makes a create as it should be, and then another one, to which `forbid` adds.
fn second_create_ends_the_connection(system: &System, forbid: impl FnOnce(call::Builder)) {
    let mut peer = connect(system.users_addr);
    let limit = Some(Duration::from_secs(20));
    peer.set_read_timeout(limit).unwrap();
    let number = fastrand::u32(..);
    let first = call(1, BOOTSTRAP, CREATE_USER, |call| fill_in(call, number, 0));
    peer.write_all(&first).unwrap();
    let is_stored = answer(&mut peer, 1, |payload| {
        let response: create_user_response::Reader = payload.get_content().get_as().unwrap();
        response.has_user()
    });
    assert!(is_stored);
    let rows = system.rows();
    let second = call(2, BOOTSTRAP, CREATE_USER, |mut call| {
        fill_in(call.reborrow(), number.wrapping_add(1), 0);
        forbid(call);
    });

    let begin = Instant::now();
    peer.write_all(&second).unwrap();
    let ended = peer.read_to_end(&mut Vec::new());

    // It may say why before it closes.
    if let Err(error) = ended {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it stays open");
    }
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(system.rows(), rows);
}

#[test]
fn call_that_passes_a_capability_ends_its_connection() {
    let system = System::start();
    second_create_ends_the_connection(&system, |call| {
        let mut capabilities = call.get_params().unwrap().init_cap_table(1);
        capabilities.reborrow().get(0).set_sender_hosted(0);
    });
}

#[test]
fn call_whose_results_are_not_for_its_caller_ends_its_connection() {
    let system = System::start();
    second_create_ends_the_connection(&system, |call| {
        call.get_send_results_to().set_yourself(());
    });
    second_create_ends_the_connection(&system, |call| {
        call.get_send_results_to().init_third_party();
    });
}
