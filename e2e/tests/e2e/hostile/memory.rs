//! Peers that would have the service keep something for every message that they send.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capnp_rpc::rpc_capnp::{call, message_target};
use tokio::time::sleep;
use users_rpc::users_capnp::{create_user_request, list_users_request};

use super::raw::{
    BOOTSTRAP, CREATE_USER, DIRECTORY, GET_USER, HEALTH, LIST_USERS, NO_METHOD, bootstrap, call,
    connect, discard_answers, finish, finish_and_keep, flood,
};
use e2e::database::fresh_database;
use e2e::rpc::{self, block_on};
use e2e::{System, eventually};

/// MB that one peer may cost.
const MAX_GROWTH: u64 = 8;
/// MB that all peers together may cost.
pub const MAX_TOTAL_GROWTH: u64 = 256;
/// The longest that nine in ten calls of others may take meanwhile; the rest is left to this machine.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// The same when the database hangs, for which a health check waits half a second.
const MAX_DELAY_ON_HUNG_DATABASE: Duration = Duration::from_secs(1);
/// The same when thousands of attackers have the processors of this machine busy, with a build that is not
/// optimized: less than a gateway waits.
pub const MAX_DELAY_IN_CROWD: Duration = Duration::from_millis(4500);

/// Lets peers attack a system, whose memory must hardly grow, and whose other callers must not notice.
fn withstand<T>(
    system: &System,
    max_growth: u64,
    max_delay: Duration,
    attack: impl FnOnce(SocketAddr) -> T,
) {
    withstand_beside(system, true, max_growth, max_delay, attack);
}

/// The same while the database answers nothing, and others ask for the service's health only.
pub fn withstand_on_hung_database<T>(
    max_growth: u64,
    max_delay: Duration,
    attack: impl FnOnce(SocketAddr) -> T,
) {
    // A statement waits until its time is over, instead of for the milliseconds that a lock is waited for.
    let database = format!("{}?options=-c%20lock_timeout%3D20000", fresh_database());
    let system = System::start_on(&database, &[], &[]);
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();
    withstand_beside(&system, false, max_growth, max_delay, attack);
    transaction.rollback().unwrap();
}

fn withstand_beside<T>(
    system: &System,
    others_create: bool,
    max_growth: u64,
    max_delay: Duration,
    attack: impl FnOnce(SocketAddr) -> T,
) {
    let is_over = AtomicBool::new(true);
    call_beside(system, others_create, &is_over);
    let before = system.users.peak_memory();

    is_over.store(false, Ordering::Relaxed);
    let delay = thread::scope(|scope| {
        let beside = scope.spawn(|| call_beside(system, others_create, &is_over));
        let connections = attack(system.users_addr);
        // What it has left open must cost nobody anything either.
        thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        drop(connections);
        beside.join().unwrap()
    });

    let growth = system.users.peak_memory() - before;
    println!("grew by {growth} MB; nine in ten calls beside took {delay:?} at most");
    assert!(growth <= max_growth, "grew by {growth} MB");
    assert!(delay < max_delay, "{delay:?}");
}

/// Makes calls until it is over; returns how long nine in ten of them took at most.
fn call_beside(system: &System, creates: bool, is_over: &AtomicBool) -> Duration {
    block_on(async {
        let (client, _) = rpc::connect(system.users_addr).await;
        let mut took = Vec::new();
        loop {
            let begin = Instant::now();
            client.health_request().send().promise.await.unwrap();
            if creates {
                let mut request = client.create_user_request();
                let email = format!("beside{}@example.com", fastrand::u64(..));
                request.get().set_email(email);
                request.get().set_name("A");
                let response = request.send().promise.await.unwrap();
                assert!(response.get().unwrap().has_user());
            }
            took.push(begin.elapsed());
            if is_over.load(Ordering::Relaxed) {
                took.sort();
                return took[took.len() * 9 / 10];
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Lets one peer that reads its answers send so many messages, made from their numbers.
pub fn withstand_flood(count: u32, message: impl Fn(u32) -> Vec<u8>) {
    let system = System::start();
    withstand(&system, MAX_GROWTH, MAX_DELAY, |addr| {
        let mut peer = connect(addr);
        discard_answers(&peer);
        flood(&mut peer, count, message);
        peer
    });
}

/// The same while the database answers nothing.
pub fn withstand_flood_on_hung_database(count: u32, message: impl Fn(u32) -> Vec<u8>) {
    withstand_on_hung_database(MAX_GROWTH, MAX_DELAY_ON_HUNG_DATABASE, |addr| {
        let mut peer = connect(addr);
        discard_answers(&peer);
        flood(&mut peer, count, message);
        peer
    });
}

/// Fills in a user to create, with so many bytes of text that the service does not look at.
pub fn fill_in(call: call::Builder, number: u32, padding: usize) {
    let content = call.init_params().init_content();
    let mut user: create_user_request::Builder = content.init_as();
    user.set_email(format!("hostile{number}@example.com"));
    user.set_name("A");
    user.init_context().set_traceparent("x".repeat(padding));
}

#[test]
fn bootstraps_that_are_never_finished_cost_bounded_memory() {
    withstand_flood(2_000_000, bootstrap);
}

#[test]
fn calls_that_are_given_up_cost_bounded_memory() {
    withstand_flood(1_000_000, |question| {
        let call = call(question, BOOTSTRAP, HEALTH, |_| ());
        [call, finish(question)].concat()
    });
}

#[test]
fn refused_calls_that_are_never_finished_cost_bounded_memory() {
    withstand_flood(1_000_000, |question| {
        call(question, BOOTSTRAP, NO_METHOD, |_| ())
    });
}

#[test]
fn results_that_are_to_stay_with_the_service_cost_bounded_memory() {
    withstand_flood(4_000, |question| {
        call(question, BOOTSTRAP, CREATE_USER, |mut call| {
            call.reborrow().get_send_results_to().set_yourself(());
            fill_in(call, question, 120_000);
        })
    });
}

#[test]
fn passed_capabilities_cost_bounded_memory() {
    withstand_flood(1_000, |question| {
        call(question, BOOTSTRAP, GET_USER, |call| {
            let mut capabilities = call.init_params().init_cap_table(5_000);
            for i in 0..5_000 {
                capabilities.reborrow().get(i).set_sender_hosted(i);
            }
        })
    });
}

#[test]
fn directories_that_are_never_released_end_their_connection_before_they_fill_the_memory() {
    // Each is finished when it has been answered: sooner would take the question back.
    const BEHIND: u32 = 100;
    let system = System::start();
    withstand(&system, MAX_GROWTH, MAX_DELAY, |addr| {
        let mut peer = connect(addr);
        let answers = discard_answers(&peer);
        flood(&mut peer, 1_000_000, |question| {
            let mut messages = call(question, BOOTSTRAP, DIRECTORY, |_| ());
            if question > BEHIND {
                messages.extend(finish_and_keep(question - BEHIND));
            }
            messages
        });
        eventually("the connection ends", || answers.is_finished());
    });
}

#[test]
fn creates_in_flight_cost_bounded_memory() {
    withstand_flood_on_hung_database(4_000, |question| {
        call(question, BOOTSTRAP, CREATE_USER, |call| {
            fill_in(call, question, 0);
        })
    });
}

#[test]
fn large_calls_in_flight_cost_bounded_memory() {
    withstand_flood_on_hung_database(4_000, |question| {
        call(question, BOOTSTRAP, CREATE_USER, |call| {
            fill_in(call, question, 100_000);
        })
    });
}

#[test]
fn calls_on_one_pending_answer_cost_bounded_memory() {
    withstand_flood_on_hung_database(100_000, |question| {
        let target = if question == 1 { BOOTSTRAP } else { 1 };
        call(question, target, GET_USER, |_| ())
    });
}

#[test]
fn calls_that_wait_for_each_other_cost_bounded_memory() {
    withstand_flood_on_hung_database(100_000, |question| {
        call(question, question - 1, GET_USER, |_| ())
    });
}

#[test]
fn long_paths_to_capabilities_cost_bounded_memory() {
    withstand_flood_on_hung_database(2_000, |question| {
        let target = if question == 1 { BOOTSTRAP } else { 1 };
        call(question, target, GET_USER, |call| {
            let target = call.get_target().unwrap().which().unwrap();
            if let message_target::PromisedAnswer(Ok(answer)) = target {
                answer.init_transform(8_000);
            }
        })
    });
}

/// Asks for pages of the largest users, and reads none.
fn never_read_pages(addr: SocketAddr) -> TcpStream {
    let mut peer = connect(addr);
    flood(&mut peer, 4_000, |question| {
        call(question, BOOTSTRAP, LIST_USERS, |call| {
            let content = call.init_params().init_content();
            content
                .init_as::<list_users_request::Builder>()
                .set_page_size(100);
        })
    });
    peer
}

fn store_large_users(system: &System) {
    let rows = "INSERT INTO users SELECT gen_random_uuid(), 'a' || i || '@example.com', repeat('🦀', 200) \
                FROM generate_series(1, 101) i";
    system.sql().batch_execute(rows).unwrap();
}

#[test]
fn pages_that_are_never_read_cost_bounded_memory() {
    let system = System::start();
    store_large_users(&system);
    withstand(&system, MAX_GROWTH, MAX_DELAY, never_read_pages);
}

#[test]
fn peers_that_all_hold_what_they_may_cost_bounded_memory_together() {
    let system = System::start();
    withstand(&system, MAX_TOTAL_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        // Without the common limit, 200 times 3 MB.
        let peer = |_| {
            let mut peer = connect(addr);
            discard_answers(&peer);
            flood(&mut peer, 5_000, bootstrap);
            peer
        };
        (0..200).map(peer).collect::<Vec<_>>()
    });
}

#[test]
fn peers_that_finish_all_they_asked_and_stay_cost_bounded_memory_together() {
    let system = System::start();
    withstand(&system, MAX_TOTAL_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        // The tables of each keep their size: without the common limit, 200 times 1.7 MB.
        let peer = |_| {
            let mut peer = connect(addr);
            discard_answers(&peer);
            flood(&mut peer, 4_000, bootstrap);
            flood(&mut peer, 4_000, finish);
            peer
        };
        (0..200).map(peer).collect::<Vec<_>>()
    });
}

#[test]
fn peer_that_keeps_much_is_closed_when_others_come() {
    let system = System::start();
    let hold = |answers_kept| {
        let mut peer = connect(system.users_addr);
        let answers = discard_answers(&peer);
        flood(&mut peer, answers_kept, bootstrap);
        answers
    };
    let first = hold(4_000);
    // Each keeps less than its share, and all together so much that the first keeps more than its.
    let others: Vec<_> = (0..100).map(|_| hold(1_500)).collect();
    eventually("the first one is closed", || first.is_finished());
    assert!(others.iter().all(|other| !other.is_finished()));
}

#[test]
fn peers_that_come_again_and_again_leave_nothing_behind() {
    let system = System::start();
    // The last one may still be there when the next one comes.
    withstand(&system, 2 * MAX_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        for _ in 0..40 {
            let mut peer = connect(addr);
            let answers = discard_answers(&peer);
            flood(&mut peer, 2_000, |question| match question % 4 {
                0 => finish(question - 2),
                1 => call(question, BOOTSTRAP, NO_METHOD, |_| ()),
                2 => call(question, BOOTSTRAP, HEALTH, |_| ()),
                _ => call(question, question - 1, GET_USER, |_| ()),
            });
            // It may have been closed already.
            let _ = peer.shutdown(Shutdown::Write);
            let _ = answers.join();
        }
    });
}

#[test]
fn claims_of_messages_that_never_come_cost_bounded_memory_together() {
    let system = System::start();
    withstand(&system, MAX_TOTAL_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        // One segment of 15,000 words.
        let header = [0, 0, 0, 0, 0x98, 0x3a, 0, 0];
        let peer = |_| {
            let mut peer = connect(addr);
            let _ = peer.write_all(&header);
            peer
        };
        (0..3_000).map(peer).collect::<Vec<_>>()
    });
}

#[test]
fn messages_that_are_never_completed_cost_bounded_memory_together() {
    let system = System::start();
    withstand(&system, MAX_TOTAL_GROWTH, MAX_DELAY_IN_CROWD, |addr| {
        let part = call(1, BOOTSTRAP, CREATE_USER, |call| fill_in(call, 1, 125_000));
        let peer = |_| {
            let mut peer = connect(addr);
            let _ = peer.write_all(&part[..120_000]);
            peer
        };
        (0..3_000).map(peer).collect::<Vec<_>>()
    });
}
