//! Peers whose calls have as many users as a message can carry.

use users_rpc::users_capnp::create_users_request;

use super::memory::{
    MAX_DELAY_IN_CROWD, MAX_TOTAL_GROWTH, withstand_flood, withstand_flood_on_hung_database,
    withstand_on_hung_database,
};
use super::raw::{BOOTSTRAP, CREATE_USERS, call, connect, discard_answers, flood};

/// Users of a call, as many as the contract allows.
const USERS: u32 = 500;

/// A call whose users have e-mail addresses that end in `domain`. It has 116 KiB.
fn create_users(question: u32, domain: &str) -> Vec<u8> {
    call(question, BOOTSTRAP, CREATE_USERS, |call| {
        let content = call.init_params().init_content();
        let request: create_users_request::Builder = content.init_as();
        let mut users = request.init_users(USERS);
        for i in 0..USERS {
            let mut user = users.reborrow().get(i);
            user.set_email(format!("{i}-{question}-{}{domain}", fastrand::u64(..)));
            user.set_name("x".repeat(120));
        }
    })
}

#[test]
fn calls_that_create_many_users_cost_bounded_memory() {
    withstand_flood(10_000, |question| {
        create_users(question, "@hostile.example.com")
    });
}

#[test]
fn calls_with_many_users_that_are_all_wrong_cost_bounded_memory() {
    withstand_flood(10_000, |question| create_users(question, ""));
}

#[test]
fn calls_for_many_users_that_wait_for_the_database_cost_bounded_memory() {
    withstand_flood_on_hung_database(2_000, |question| {
        create_users(question, "@hostile.example.com")
    });
}

#[test]
fn calls_for_many_users_of_many_peers_cost_bounded_memory_together() {
    let calls = (1..=20).flat_map(|question| create_users(question, "@hostile.example.com"));
    let calls: Vec<u8> = calls.collect();
    withstand_on_hung_database(MAX_TOTAL_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        // Without the common limit, 200 times 2 MB, and three times as much for what is made of them.
        let peer = |_| {
            let mut peer = connect(addr);
            discard_answers(&peer);
            flood(&mut peer, 1, |_| calls.clone());
            peer
        };
        (0..200).map(peer).collect::<Vec<_>>()
    });
}
