//! A peer that was given a directory, and never finishes the question by which it got it.

use std::io::Write as _;

use capnp::traits::HasTypeId as _;
use capnp_rpc::rpc_capnp::cap_descriptor;
use e2e::System;
use users_rpc::users_capnp::{get_user_response, user_directory};

use super::raw::{BOOTSTRAP, DIRECTORY, answer, call, connect, release};

/// `getUser` of the capability `directory`.
fn get_user(question: u32, directory: u32) -> Vec<u8> {
    call(question, BOOTSTRAP, 0, |mut call| {
        call.set_interface_id(user_directory::Client::TYPE_ID);
        call.get_target().unwrap().set_imported_cap(directory);
    })
}

#[test]
fn released_handle_revokes_its_directory_before_the_question_is_finished() {
    let system = System::start();
    let mut peer = connect(system.users_addr);
    peer.write_all(&call(1, BOOTSTRAP, DIRECTORY, |_| ()))
        .unwrap();
    let capabilities = answer(&mut peer, 1, |payload| {
        let capabilities = payload.get_cap_table().unwrap().iter();
        let ids = capabilities.map(|capability| match capability.which() {
            Ok(cap_descriptor::SenderHosted(id)) => id,
            _ => panic!("not a capability of the service"),
        });
        ids.collect::<Vec<_>>()
    });
    let [directory, handle] = capabilities[..] else {
        panic!("{capabilities:?}");
    };
    let is_revoked = |peer: &mut _, question| {
        answer(peer, question, |payload| {
            let response: get_user_response::Reader = payload.get_content().get_as().unwrap();
            matches!(response.which(), Ok(get_user_response::Revoked(())))
        })
    };

    peer.write_all(&get_user(2, directory)).unwrap();
    assert!(!is_revoked(&mut peer, 2));
    peer.write_all(&release(handle)).unwrap();
    peer.write_all(&get_user(3, directory)).unwrap();
    assert!(is_revoked(&mut peer, 3));
}
