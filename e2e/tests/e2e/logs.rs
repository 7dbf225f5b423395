//! What operators see in the logs: a line for each request, and nothing of what is in it.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postgres_server::Server;
use serde_json::{Value, json};

use e2e::certificates::Certificates;
use e2e::database::fresh_database;
use e2e::{Http, Program, System, admin, binary, free_addr, spawn_users};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A system on this database that logs as much as it can.
fn start(database: &str) -> System {
    let settings = [("LOG_FORMAT", "json"), ("RUST_LOG", "trace")];
    System::start_on(database, &settings, &settings)
}

/// The line of JSON that has `text`.
fn line(program: &mut Program, text: &str) -> Value {
    serde_json::from_str(&program.wait_for(text)).unwrap()
}

#[test]
fn request_is_logged_with_its_route_status_duration_and_trace() {
    let mut system = start(&fresh_database());
    let created = ureq::post(format!("{}/users", system.http.base))
        .header("X-Request-Id", "req-17")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-00"))
        .send_json(json!({ "email": "jane@example.com", "name": "Jane" }))
        .unwrap();
    assert_eq!(created.headers()["x-request-id"], "req-17");

    let line = line(&mut system.gateway, "req-17");
    for (field, value) in [
        ("trace_id", TRACE),
        ("route", "/users"),
        ("method", "POST"),
        ("level", "INFO"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 201);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    // The users service tells whose call it was.
    system.users.wait_for(TRACE);
}

#[test]
fn failed_request_is_logged_with_its_cause() {
    let mut server = Server::temporary().unwrap();
    let mut system = start(&server.fresh_database().unwrap());
    server.stop();
    // 504 when the statement was on its way as the server stopped.
    let failed = system.http.create("jane@example.com", "Jane");
    assert!([503, 504].contains(&failed.status), "{}", failed.status);
    let line = line(&mut system.gateway, r#""route":"/users","status":50"#);
    assert!(line["cause"].is_string(), "{line}");
}

#[test]
fn nothing_that_a_client_sends_and_no_password_is_logged() {
    let mut server = Server::temporary().unwrap();
    let system = start(&server.fresh_database().unwrap());
    send_secrets(&system);
    server.stop();
    system.http.create("secret-mail5@example.com", "Secretname");

    let password = system.database.split([':', '@']).nth(2).unwrap();
    let output = system.gateway.output() + &system.users.output();
    let lower = output.to_lowercase();
    for secret in [
        "secret-mail",
        "secretname",
        "secret-key",
        password,
        "postgres://",
    ] {
        assert!(!lower.contains(secret), "{secret} is in:\n{output}");
    }
}

/// Sends secrets in every way in which they could come out again.
fn send_secrets(system: &System) {
    let http = &system.http;
    let status = |email, name| http.create(email, name).status;
    assert_eq!(status("secret-mail@example.com", "Secretname"), 201);
    assert_eq!(status("secret-mail@example.com", "Secretname other"), 409);
    assert_eq!(status("secret-mail", "Secretname\u{7}"), 400);

    let keyed = |email| {
        http.create_with_key(email, "Secretname", "secret-key")
            .status
    };
    assert_eq!(keyed("secret-mail2@example.com"), 201);
    assert_eq!(keyed("secret-mail3@example.com"), 422);

    let malformed = ureq::post(format!("{}/users", http.base))
        .content_type("application/json")
        .send("{\"secret-mail\": Secretname");
    assert!(malformed.is_err(), "{malformed:?}");

    let check = "ALTER TABLE users ADD CHECK (name <> 'Secretname3')";
    system.sql().batch_execute(check).unwrap();
    assert_eq!(status("secret-mail4@example.com", "Secretname3"), 400);
}

/// Starts a program whose standard error is a pipe that nobody reads, as when a collector hangs.
fn start_unread(service: &str, settings: &[(&str, &str)]) -> Program {
    let settings = [settings, &[("RUST_LOG", "debug")]].concat();
    Program::start_unread(&binary(service), Path::new("/"), &settings)
}

#[test]
fn log_that_nobody_reads_stalls_nothing_and_what_it_loses_is_counted() {
    let (http_addr, users_addr, admin) = (free_addr(), free_addr(), free_addr());
    let database = fresh_database();
    let mut users = start_unread(
        "users-svc",
        &[
            ("RPC_ADDR", &users_addr),
            ("DATABASE_URL", &database),
            ("MIGRATE_ON_START", "true"),
        ],
    );
    let settings = [
        ("HTTP_ADDR", &*http_addr),
        ("USERS_ADDR", &*users_addr),
        ("ADMIN_ADDR", &*admin),
    ];
    let mut gateway = start_unread("gateway", &settings);
    let http = Http::new(http_addr.rsplit(':').next().unwrap().parse().unwrap());
    http.wait_until_ready();

    // More lines than the pipe and the queue hold.
    let ask = || (0..3_000).for_each(|_| assert_eq!(http.get("/livez").status, 200));
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(ask))));
    for i in 0..500 {
        let created = http.create(&format!("jane{i}@example.com"), "Jane");
        assert_eq!(created.status, 201);
    }
    assert!(admin::value(&admin, "log_lines_dropped_total", &[]) > 0.0);

    let stopping = Instant::now();
    gateway.stop();
    users.stop();
    let took = stopping.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Probes that only connect, and hang up, every few seconds.
#[test]
fn tcp_probe_of_a_port_with_tls_is_not_logged() {
    let certificates = Certificates::new();
    let files = certificates.issue_for_service();
    let settings = [&files.of_service()[..], &[("WORKERS", "1")]].concat();
    let mut users = spawn_users("127.0.0.1:0", &fresh_database(), &settings);
    let addr = users.addr();

    for _ in 0..3 {
        drop(TcpStream::connect(addr).unwrap());
    }
    // It would not be logged, had those been a moment before.
    let mut other = TcpStream::connect(addr).unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();

    let line = users.wait_for("ended an RPC connection");
    assert!(line.contains("TLS") && !line.contains("eof"), "{line}");
}
