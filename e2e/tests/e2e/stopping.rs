//! Stopping and restarting under load, without a failed request.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use postgres_server::Server;

use e2e::{Http, Program, System, binary, free_port, start_users, under_load};

const CLIENTS: usize = 8;

#[test]
fn sigterm_under_load_answers_everything_that_was_accepted() {
    let mut system = System::start();
    let http = system.http.clone();
    let outcomes = under_load(std::slice::from_ref(&http), CLIENTS, "stop", || {
        let start = Instant::now();
        system.gateway.signal(Signal::SIGTERM);
        assert_eq!(system.gateway.ended().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    // 0: refused after the gateway had stopped.
    assert!(
        outcomes
            .iter()
            .all(|outcome| [201, 0].contains(&outcome.status)),
        "{outcomes:?}"
    );
    let created = outcomes
        .iter()
        .filter(|outcome| outcome.status == 201)
        .count();
    assert_eq!(system.rows(), i64::try_from(created).unwrap());

    // The service on its own, with the gateway gone.
    system.users.signal(Signal::SIGTERM);
    assert_eq!(system.users.ended().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut system = System::start();
    let mut half = std::net::TcpStream::connect(("127.0.0.1", system.http.port())).unwrap();
    std::io::Write::write_all(&mut half, b"POST /users HTTP/1.1\r\nHost: h\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    system.gateway.signal(Signal::SIGTERM);
    system.gateway.wait_for("stopping");
    system.gateway.signal(Signal::SIGTERM);
    assert_eq!(system.gateway.ended().code(), Some(128 + 15));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_rolling_restart_of_two_of_each_fails_no_request() {
    let server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let rpc = [free_port(), free_port()];
    let users = |port: u16| start_users(&format!("127.0.0.1:{port}"), &database, &[]);
    let users_addr = format!("127.0.0.1:{},127.0.0.1:{}", rpc[0], rpc[1]);
    let gateway = |port: u16| {
        let addr = format!("127.0.0.1:{port}");
        let settings = [("HTTP_ADDR", &*addr), ("USERS_ADDR", &users_addr)];
        let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
        gateway.addr();
        let http = Http::new(port);
        http.wait_until_ready();
        (gateway, http)
    };
    let (mut a, mut b) = (users(rpc[0]), users(rpc[1]));
    let ports = [free_port(), free_port()];
    let ((mut c, first), (mut d, second)) = (gateway(ports[0]), gateway(ports[1]));
    let outcomes = under_load(&[first, second], CLIENTS, "roll", || {
        let stop = |program: &mut Program| {
            program.signal(Signal::SIGTERM);
            assert_eq!(program.ended().code(), Some(0), "{}", program.output());
        };
        for _ in 0..3 {
            stop(&mut a);
            a = users(rpc[0]);
            stop(&mut b);
            b = users(rpc[1]);
            stop(&mut c);
            c = gateway(ports[0]).0;
            stop(&mut d);
            d = gateway(ports[1]).0;
        }
    });
    assert!(outcomes.len() > 500, "{}", outcomes.len());
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.status != 201)
        .count();
    assert_eq!(
        failed,
        0,
        "of {}; {}\n{}",
        outcomes.len(),
        c.output(),
        d.output()
    );
    let mut sql = postgres::Client::connect(&database, postgres::NoTls).unwrap();
    let rows: i64 = sql
        .query_one("SELECT count(*) FROM users", &[])
        .unwrap()
        .get(0);
    assert_eq!(rows, i64::try_from(outcomes.len()).unwrap());
}
