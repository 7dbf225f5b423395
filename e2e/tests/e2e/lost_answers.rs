//! The link to the database loses an answer after the insert was sent: the service finds out what became
//! of it.

use std::thread;
use std::time::{Duration, Instant};

use postgres_server::Server;

use crate::promise::{assert_recovers, create};
use e2e::System;
use e2e::database::behind_proxy;
use e2e::proxy::{Fault, Proxy};

/// A system that reaches its database through a proxy; the test reaches it directly.
fn system_behind_a_proxy() -> (Server, Proxy, System) {
    let server = Server::temporary().unwrap();
    let direct = server.fresh_database().unwrap();
    let (link, proxied) = behind_proxy(&server, &direct);
    let mut system = System::start_on(&proxied, &[], &[]);
    system.database = direct;
    assert_recovers(&system, "calm");
    (server, link, system)
}

/// Whether a user with this name is stored before a second has passed.
fn is_stored(system: &System, name: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(1);
    let mut sql = system.sql();
    let find = "SELECT FROM users WHERE name = $1";
    while Instant::now() < end {
        if sql.query_opt(find, &[&name]).unwrap().is_some() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn answer_lost_after_the_insert_was_sent_is_201_when_the_row_is_there() {
    let (_server, link, system) = system_behind_a_proxy();
    let mut lost = 0;
    for round in 0..10 {
        let name = format!("lost{round}");
        let email = format!("{name}@example.com");
        // A connection that was in use just now is not tried before it is used again.
        assert_eq!(create(&system, &format!("before{round}")), 201);
        thread::scope(|scope| {
            link.set(Fault::SwallowAnswers);
            let call = scope.spawn(|| system.http.create_with_key(&email, &name, &name));
            // The row is there, its answer is not: the link breaks, and the service must find out.
            let is_stored = is_stored(&system, &name);
            link.set(Fault::None);
            link.cut();
            let answer = call.join().unwrap();
            if is_stored {
                lost += 1;
                assert_eq!(answer.status, 201);
                assert!(!answer.is_replay, "no earlier request created it");
            }
        });
    }
    // Not all: a connection that does get its trial does not get to the insert.
    assert!(lost >= 3, "{lost}");
    assert_recovers(&system, "healed");
}

#[test]
fn link_that_swallows_everything_never_yields_201() {
    let (_server, link, system) = system_behind_a_proxy();
    link.set(Fault::BlackHole);
    assert_ne!(create(&system, "hole"), 201);
    link.set(Fault::None);
    assert_recovers(&system, "healed");
}
