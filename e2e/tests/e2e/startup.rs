//! Services start in any order, in any directory, and say when they are ready.

use std::thread::sleep;
use std::time::Duration;
use std::{fs, path::Path};

use postgres_server::Server;
use tempfile::TempDir;

use e2e::{
    Http, Program, System, admin, binary, database, eventually, free_addr, healthcheck, root,
    spawn_users, start_gateway,
};

fn create_jane(http: &Http) -> u16 {
    http.create("jane@example.com", "Jane Doe").status
}

#[test]
fn gateway_that_starts_first_answers_503_until_the_users_service_is_there() {
    let addr = free_addr();
    let (_gateway, http) = start_gateway(&addr, &[]);
    assert_eq!(http.get("/livez").status, 200);
    assert_eq!(create_jane(&http), 503);

    let _users = spawn_users(&addr, &database::fresh_database(), &[]);
    http.wait_until_ready();
    assert_eq!(create_jane(&http), 201);
}

#[test]
fn services_that_start_before_postgres_answer_503_until_it_is_there() {
    let mut server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    server.stop();
    let addr = free_addr();
    let mut users = spawn_users(&addr, &database, &[]);
    users.addr();
    let (mut gateway, http) = start_gateway(&addr, &[]);
    gateway.wait_for("connected");
    assert_eq!(create_jane(&http), 503);
    assert_eq!(http.get("/readyz").status, 503);

    server.start_again().unwrap();
    http.wait_until_ready();
    assert_eq!(create_jane(&http), 201);
}

/// A directory with a service's example settings as its `.env`.
fn folder(service: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let example = root().join(service).join(".env.example");
    fs::copy(example, dir.path().join(".env")).unwrap();
    dir
}

#[test]
fn services_start_in_their_folders_with_their_example_settings() {
    let start = |service: &str, dir: &Path, settings: &[(&str, &str)]| {
        let mut program = Program::start(&binary(service), dir, settings);
        let addr = program.addr();
        (program, addr)
    };
    let database = database::fresh_database();
    let (users_dir, gateway_dir) = (folder("users-svc"), folder("gateway"));

    // What the environment has wins over the file.
    let settings = [
        ("RPC_ADDR", "127.0.0.1:0"),
        ("DATABASE_URL", &*database),
        ("MIGRATE_ON_START", "true"),
    ];
    let (_users, users_addr) = start("users-svc", users_dir.path(), &settings);
    let users_addr = users_addr.to_string();
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users_addr)];
    let (_gateway, addr) = start("gateway", gateway_dir.path(), &settings);

    let http = Http::new(addr.port());
    http.wait_until_ready();
    assert_eq!(create_jane(&http), 201);
}

#[test]
fn database_that_goes_away_leaves_the_gateway_ready_to_say_so() {
    let mut server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let addr = free_addr();
    let mut system = System::start_on(&database, &[("ADMIN_ADDR", &addr)], &[]);
    let gateway = system.gateway.addr().to_string();
    let users = system.users_addr.to_string();
    assert!(healthcheck("gateway", "HTTP_ADDR", &gateway));
    assert!(healthcheck("users-svc", "RPC_ADDR", &users));

    server.stop();
    // Clients are better served by a 503 than by a closed port, and no other replica has a database.
    eventually("creates are answered 503", || {
        create_jane(&system.http) == 503
    });
    assert!(healthcheck("gateway", "HTTP_ADDR", &gateway));
    assert_eq!(admin::status(&addr, "/readyz"), 200);
    // For people, and for what starts after it.
    assert!(!healthcheck("users-svc", "RPC_ADDR", &users));
}

#[test]
fn users_service_that_idles_keeps_the_threads_that_its_next_call_needs() {
    let system = System::start();
    assert_eq!(create_jane(&system.http), 201);
    let threads = system.users.threads();

    // Longer than tokio keeps a thread that has nothing to do.
    sleep(Duration::from_secs(12));
    assert_eq!(system.users.threads(), threads);
}

#[test]
fn gateway_that_anyone_on_the_network_may_use_says_so() {
    let warning = "whoever reaches HTTP_ADDR may create and read users";
    let network = [("HTTP_ADDR", "0.0.0.0:0")];
    let (mut open, _) = start_gateway("127.0.0.1:1", &network);
    open.wait_for(warning);

    let (local, http) = start_gateway("127.0.0.1:1", &[]);
    assert_eq!(http.get("/livez").status, 200);
    assert!(!local.output().contains(warning));
}
