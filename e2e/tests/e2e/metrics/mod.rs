//! What operators see in the metrics of both services, and of them in dashboards and alerts.

#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod exposition;
mod monitoring;
mod refused_heads;
mod whole;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use e2e::admin::{scrape, status, value};
use e2e::database::fresh_database;
use e2e::{System, eventually, free_addr};

/// A system whose services expose metrics, and where: the gateway and the users service.
fn start() -> (System, String, String) {
    let (gateway, users) = (free_addr(), free_addr());
    let system = System::start_with(&[("ADMIN_ADDR", &users)], &[("ADMIN_ADDR", &gateway)]);
    (system, gateway, users)
}

#[test]
fn requests_are_counted_at_each_hop() {
    let (system, gateway, users) = start();
    for n in 0..3 {
        let created = system.http.create(&format!("jane{n}@example.com"), "Jane");
        assert_eq!(created.status, 201);
    }
    assert_eq!(system.http.create("jane0@example.com", "Jane").status, 409);
    assert_eq!(system.http.get("/users/unknown").status, 404);

    let http = |labels: &[&str]| {
        let requests = "http_server_request_duration_seconds_count";
        value(&gateway, requests, labels)
    };
    let (post, get) = (r#"http_route="/users""#, r#"http_route="/users/{id}""#);
    assert_eq!(http(&[post, r#"method="POST""#, r#"code="201""#]), 3.0);
    assert_eq!(http(&[r#"code="409""#]), 1.0);
    assert_eq!(http(&[get, "404"]), 1.0);
    let call = [r#"rpc_method="createUser""#, r#"outcome="ok""#];
    let sent = value(&gateway, "rpc_client_call_duration_seconds_count", &call);
    let served = value(&users, "rpc_server_call_duration_seconds_count", &call);
    assert_eq!((sent, served), (4.0, 4.0));
    let inserts = [r#"batch="INSERT users""#];
    assert_eq!(value(&users, "batch_size_sum", &inserts), 4.0);
    assert_eq!(value(&users, "batch_duration_seconds_count", &inserts), 4.0);
}

#[test]
fn admin_address_answers_probes_and_nothing_else() {
    let (_system, gateway, users) = start();
    for addr in [&gateway, &users] {
        for (path, expected) in [
            ("/metrics", 200),
            ("/livez", 200),
            ("/readyz", 200),
            ("/", 404),
            ("/users", 404),
        ] {
            assert_eq!(status(addr, path), expected, "{path}");
        }
    }
}

#[test]
fn connections_and_requests_in_flight_are_shown() {
    let (system, gateway, users) = start();
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    assert!(value(&users, "db_client_connections", &[]) >= 1.0);
    assert!(value(&gateway, "rpc_client_links_up", &[]) >= 1.0);
    assert_eq!(value(&gateway, "http_server_active_requests", &[]), 0.0);
}

#[test]
fn link_that_is_down_shows_and_so_do_the_requests_that_are_shed() {
    let (mut system, gateway, _) = start();
    system.users.kill();
    eventually("the links are down", || {
        value(&gateway, "rpc_client_links_up", &[]) == 0.0
    });
    eventually("a request is shed", || {
        system.http.create("late@example.com", "Late").status == 503
            && value(&gateway, "rpc_client_shed_total", &["link_down"]) > 0.0
    });
}

#[test]
fn call_that_is_made_again_is_counted_by_the_reason() {
    // Its statements wait for the lock until their time is over.
    let database = format!("{}?options=-c%20lock_timeout%3D20000", fresh_database());
    let (gateway, users) = (free_addr(), free_addr());
    let mut system = System::start_on(
        &database,
        &[("ADMIN_ADDR", &users)],
        &[("ADMIN_ADDR", &gateway)],
    );
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();

    let retries = |reason| value(&gateway, "rpc_client_retries_total", &[reason]);
    thread::scope(|scope| {
        let http = &system.http;
        let create = scope.spawn(|| http.create("jane@example.com", "Jane"));
        eventually("the users service has the call", || {
            value(&users, "rpc_server_active_calls", &[]) == 1.0
        });
        system.users.signal(Signal::SIGKILL);
        assert_eq!(create.join().unwrap().status, 504);
    });
    system.users.ended();
    assert_eq!(retries(r#"reason="disconnected""#), 1.0);
    assert_eq!(retries(r#"reason="failed""#), 0.0);
}

#[test]
fn ten_thousand_paths_add_no_series() {
    let (system, gateway, _) = start();
    let series = || -> BTreeSet<String> {
        let lines = scrape(&gateway).into_iter();
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let ask = |n: u32| {
        system.http.get(&format!("/users/{n}"));
        system.http.get(&format!("/{n}/x?y={n}"));
        system.http.get(&format!("/docs/{n}"));
    };
    ask(0);
    let before = series();

    let ask_many = |from| (from..10_000).step_by(4).for_each(ask);
    thread::scope(|scope| {
        for from in 1..=4 {
            scope.spawn(move || ask_many(from));
        }
    });

    assert_eq!(series(), before);
    assert!(before.len() < 2_000, "{}", before.len());
}

#[test]
fn clients_that_say_nothing_or_read_slowly_keep_no_scrape_out_and_are_closed() {
    let (_system, gateway, _) = start();
    let connect = |_| TcpStream::connect(&gateway).unwrap();
    let mut silent: Vec<TcpStream> = (0..100).map(connect).collect();
    for slow in &mut silent[..90] {
        slow.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    }

    let start = Instant::now();
    assert!(!scrape(&gateway).is_empty());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");

    // The last ones by their time limit, those before them by their number.
    for stream in &mut silent {
        let rest = Duration::from_secs(20).saturating_sub(start.elapsed());
        stream
            .set_read_timeout(Some(rest.max(Duration::from_millis(1))))
            .unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let is_open = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "it is still open");
    }
}
