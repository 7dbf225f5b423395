//! Stopping and restarting under load, without a failed request.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{slice, thread};

use nix::sys::signal::Signal;

use e2e::proxy::silent_server;
use e2e::rpc::block_on;
use e2e::{
    Http, Outcome, Program, System, admin, database, eventually, free_addr, rpc, start_gateway,
    start_users, under_load,
};

const CLIENTS: usize = 8;

#[test]
fn sigterm_stops_each_service_with_status_0() {
    let mut system = System::start();
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    system.gateway.stop();
    system.users.stop();
}

#[test]
fn sigterm_under_load_answers_everything_that_was_accepted() {
    let mut system = System::start();
    let http = system.http.clone();
    let outcomes = under_load(slice::from_ref(&http), CLIENTS, "stop", || {
        let start = Instant::now();
        system.gateway.stop();
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    // 0: not answered after the gateway had stopped.
    let is_right = |outcome: &Outcome| [201, 0].contains(&outcome.status);
    assert!(outcomes.iter().all(is_right), "{outcomes:?}");
    let created = outcomes.iter().filter(|o| o.status == 201).count();
    assert_eq!(system.rows(), i64::try_from(created).unwrap());
}

#[test]
fn sigterm_does_not_wait_for_a_collector_that_says_nothing() {
    let collector = format!("http://{}", silent_server());
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector)];
    let mut system = System::start_with(&traced, &traced);
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    for program in [&mut system.gateway, &mut system.users] {
        let begin = Instant::now();
        program.stop();
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn second_signal_stops_at_once() {
    let mut system = System::start();
    let mut half = TcpStream::connect(("127.0.0.1", system.http.port())).unwrap();
    half.write_all(b"POST /users HTTP/1.1\r\nHost: h\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    system.gateway.signal(Signal::SIGTERM);
    system.gateway.wait_for("stopping");
    system.gateway.signal(Signal::SIGTERM);
    assert_eq!(system.gateway.ended().code(), Some(128 + 15));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn rolling_restart_of_two_of_each_fails_no_request() {
    let database = database::fresh_database();
    let users_addrs = [free_addr(), free_addr()];
    let users_addr = users_addrs.join(",");
    let mut users = users_addrs
        .each_ref()
        .map(|addr| start_users(addr, &database, &[]));
    let http_addrs = [free_addr(), free_addr()];
    let start = |addr: &str| -> (Program, Http) {
        let (gateway, http) = start_gateway(&users_addr, &[("HTTP_ADDR", addr)]);
        http.wait_until_ready();
        (gateway, http)
    };
    let [(first, http), (second, other)] = http_addrs.each_ref().map(|addr| start(addr));
    let mut gateways = [first, second];

    let outcomes = under_load(&[http, other], CLIENTS, "roll", || {
        for _ in 0..3 {
            for (users, addr) in users.iter_mut().zip(&users_addrs) {
                users.stop();
                *users = start_users(addr, &database, &[]);
            }
            for (gateway, addr) in gateways.iter_mut().zip(&http_addrs) {
                gateway.stop();
                *gateway = start(addr).0;
            }
        }
    });

    assert!(outcomes.len() > 500, "{}", outcomes.len());
    let failed: Vec<_> = outcomes.iter().filter(|o| o.status != 201).collect();
    let [first, second] = gateways.each_ref().map(Program::output);
    assert!(failed.is_empty(), "{failed:?}\n{first}\n{second}");
    let rows = database::rows(&database);
    assert_eq!(rows, i64::try_from(outcomes.len()).unwrap());
}

/// What `health` of the users service says.
fn is_serving(system: &System) -> bool {
    block_on(async {
        let (client, _) = rpc::connect(system.users_addr).await;
        let response = client.health_request().send().promise.await.unwrap();
        response.get().unwrap().get_serving()
    })
}

#[test]
fn stopping_process_says_so_and_serves_on_for_its_delay() {
    let (users, gateway) = (free_addr(), free_addr());
    let delay = ("SHUTDOWN_DELAY_MS", "4000");
    let mut system = System::start_with(
        &[("ADMIN_ADDR", &users), delay],
        &[("ADMIN_ADDR", &gateway), delay],
    );
    assert_eq!(admin::status(&gateway, "/readyz"), 200);
    assert!(is_serving(&system));

    let start = Instant::now();
    for program in [&system.users, &system.gateway] {
        program.signal(Signal::SIGTERM);
    }
    for addr in [&users, &gateway] {
        eventually("it is not ready", || admin::status(addr, "/readyz") == 503);
        assert_eq!(admin::status(addr, "/livez"), 200);
    }
    assert!(!system.http.is_ready() && !is_serving(&system));
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);

    for program in [&mut system.users, &mut system.gateway] {
        assert_eq!(program.ended().code(), Some(0), "{}", program.output());
    }
    assert!(start.elapsed() >= Duration::from_secs(4));
}
