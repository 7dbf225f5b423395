//! The largest answers that a caller can ask for.

use std::io::Write as _;
use std::iter;
use std::net::TcpStream;

use capnp_rpc::rpc_capnp::payload;
use e2e::System;
use users_rpc::users_capnp::{
    create_user_response, create_users_request, create_users_response, create_users_result,
    list_users_request, list_users_response,
};

use super::raw::{BOOTSTRAP, CREATE_USERS, LIST_USERS, answer_and_size, call, connect};

/// Bytes of a message of the service at most, as the contract says ("Limits").
const MOST_BYTES: usize = 1024 * 1024;
/// How many answers of any kind that could hold.
const MARGIN: usize = 4;
/// Users of the fullest page.
const PAGE: u32 = 100;

/// An id, an e-mail address and a name.
type New = [String; 3];

/// Creates these users in one call; returns what became of the last, and the bytes of the answer.
fn create(peer: &mut TcpStream, question: u32, users: &[New]) -> (&'static str, usize) {
    let request = call(question, BOOTSTRAP, CREATE_USERS, |call| {
        let content = call.init_params().init_content();
        let request: create_users_request::Builder = content.init_as();
        let mut list = request.init_users(u32::try_from(users.len()).unwrap());
        for (i, [id, email, name]) in (0..).zip(users) {
            let mut user = list.reborrow().get(i);
            user.set_id(id);
            user.set_email(email);
            user.set_name(name);
        }
    });
    peer.write_all(&request).unwrap();
    answer_and_size(peer, question, last_outcome)
}

fn last_outcome(payload: payload::Reader) -> &'static str {
    let response: create_users_response::Reader = payload.get_content().get_as().unwrap();
    let Ok(create_users_response::Results(Ok(results))) = response.which() else {
        panic!("the call as a whole is refused");
    };
    let last = results.get(results.len() - 1);
    let Ok(create_users_result::Done(Ok(done))) = last.which() else {
        return "not done";
    };
    match done.which().unwrap() {
        create_user_response::User(_) => "stored",
        create_user_response::Invalid(Ok(faults)) if faults.len() == 3 => "three faults",
        _ => "something else",
    }
}

/// Reads the first page, which must be full and not the last; returns the bytes of the answer.
fn list(peer: &mut TcpStream, question: u32) -> usize {
    let request = call(question, BOOTSTRAP, LIST_USERS, |call| {
        let content = call.init_params().init_content();
        let mut request: list_users_request::Builder = content.init_as();
        request.set_page_size(PAGE);
    });
    peer.write_all(&request).unwrap();
    let (is_full, size) = answer_and_size(peer, question, |payload| {
        let response: list_users_response::Reader = payload.get_content().get_as().unwrap();
        let Ok(list_users_response::Page(page)) = response.which() else {
            panic!("there is no page");
        };
        page.get_users().unwrap().len() == PAGE && page.has_next_page_token()
    });
    assert!(is_full);
    size
}

/// One with an address of 254 bytes and a name of 800, in 200 characters, as long as they may be.
fn longest_user(number: usize) -> New {
    let label = "d".repeat(63);
    let email = format!("{number:064}@{label}.{label}.{}", "d".repeat(61));
    [String::new(), email, "🦀".repeat(200)]
}

/// One of 500, whose texts have as much room in a message as there is.
fn user_of_many(number: usize) -> New {
    let email = format!("u{number:07}@b.example.com");
    [String::new(), email, "x".repeat(174)]
}

#[test]
fn largest_answers_are_a_quarter_of_what_a_message_may_be() {
    let system = System::start();
    let mut peer = connect(system.users_addr);
    // Not many more, nor much more text in 500 users, and the message would be too long.
    let longest: Vec<New> = (0..115).map(longest_user).collect();
    let many: Vec<New> = (0..500).map(user_of_many).collect();
    // Each field breaks the rules that take the most words.
    let faulty = ["7", "\"@é", "\u{1}"].map(str::to_owned);
    let faulty: Vec<New> = iter::repeat_n(faulty, 500).collect();

    let (longest_outcome, of_longest) = create(&mut peer, 1, &longest);
    let (many_outcome, of_many) = create(&mut peer, 2, &many);
    let (faulty_outcome, of_faulty) = create(&mut peer, 3, &faulty);
    let of_page = list(&mut peer, 4);

    assert_eq!(longest_outcome, "stored");
    assert_eq!(many_outcome, "stored");
    assert_eq!(faulty_outcome, "three faults");
    let sizes = [of_longest, of_many, of_faulty, of_page];
    println!("bytes of the largest answers: {sizes:?}");
    assert!(
        sizes.iter().all(|size| size * MARGIN <= MOST_BYTES),
        "{sizes:?}"
    );
}
