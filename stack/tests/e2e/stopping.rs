//! Stopping and restarting under load, without a failed request.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use stack::postgres::Server;

use crate::support::{Http, Program, System, binary};

const CLIENTS: usize = 8;

/// Creates users from several clients while `meanwhile` runs. Each client asks the gateways in turn,
/// and the other when one refuses the connection, as a balancer would. Returns the statuses of all.
fn under_load(gateways: &[Http], prefix: &str, meanwhile: impl FnOnce()) -> Vec<u16> {
    let (stop, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let n = number.fetch_add(1, Ordering::Relaxed);
                        let email = format!("{prefix}{n}@example.com");
                        let key = format!("{prefix}-{n}");
                        let answer = (0..gateways.len()).find_map(|turn| {
                            let gateway = &gateways[(n + turn) % gateways.len()];
                            gateway.try_create(&email, "A", Some(&key)).ok()
                        });
                        statuses.push(answer.map_or(0, |answer| answer.status));
                    }
                    statuses
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        meanwhile();
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    })
}

#[test]
fn sigterm_under_load_answers_everything_that_was_accepted() {
    let mut system = System::start();
    let http = system.http.clone();
    let statuses = under_load(std::slice::from_ref(&http), "stop", || {
        let start = Instant::now();
        system.gateway.signal(Signal::SIGTERM);
        assert_eq!(system.gateway.ended().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    // 0: refused after the gateway had stopped.
    assert!(
        statuses.iter().all(|status| [201, 0].contains(status)),
        "{statuses:?}"
    );
    let created = statuses.iter().filter(|status| **status == 201).count();
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
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let rpc = [free(), free()];
    let users = |port: u16| {
        let addr = format!("127.0.0.1:{port}");
        let settings = [
            ("RPC_ADDR", &*addr),
            ("DATABASE_URL", &database),
            ("MIGRATE_ON_START", "true"),
        ];
        let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
        users.addr();
        // As an orchestrator would, before it goes on to the next.
        let check = || {
            let mut check = std::process::Command::new(binary("users-svc"));
            check
                .arg("healthcheck")
                .env("RPC_ADDR", &addr)
                .stderr(std::process::Stdio::null());
            check.status().unwrap().success()
        };
        while !check() {
            thread::sleep(Duration::from_millis(20));
        }
        users
    };
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
    let ports = [free(), free()];
    let ((mut c, first), (mut d, second)) = (gateway(ports[0]), gateway(ports[1]));
    let statuses = under_load(&[first, second], "roll", || {
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
    assert!(statuses.len() > 500, "{}", statuses.len());
    let failed = statuses.iter().filter(|status| **status != 201).count();
    assert_eq!(
        failed,
        0,
        "of {}; {}\n{}",
        statuses.len(),
        c.output(),
        d.output()
    );
    let mut sql = postgres::Client::connect(&database, postgres::NoTls).unwrap();
    let rows: i64 = sql
        .query_one("SELECT count(*) FROM users", &[])
        .unwrap()
        .get(0);
    assert_eq!(rows, i64::try_from(statuses.len()).unwrap());
}
