//! The real binaries of both services, on a real PostgreSQL, through a real HTTP client.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use capnp_rpc::rpc_twoparty_capnp::Side;
use e2e::{Http, Program, System, binary, free_addr, root};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
};
use users_rpc::{
    transport,
    users_capnp::{list_users_response, users},
};

#[test]
fn a_created_user_can_be_read_where_its_location_says() {
    let system = System::start();
    let created = system.http.create("jane@example.com", "Jane Doe");
    assert_eq!(created.status, 201);
    let read = system.http.get(&created.location.unwrap());
    assert_eq!((read.status, &read.body), (200, &created.body));

    let again = system.http.create("JANE@example.com", "Someone else");
    assert_eq!(again.status, 409);
    assert_eq!(again.body["type"], "urn:problem-type:users:email-taken");
    let invalid = system.http.create("jane", "");
    assert_eq!(invalid.status, 400);
    assert_eq!(invalid.body["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        system
            .http
            .get("/users/0190a3f4-7c3e-7cc8-a1b2-0242ac120002")
            .status,
        404
    );
    assert_eq!(system.rows(), 1);
}

#[test]
fn of_64_creates_of_one_email_one_is_201_and_the_rest_409() {
    let system = System::start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let create = |i: usize| {
            let http = system.http.clone();
            let email = if i.is_multiple_of(2) {
                "jane@example.com"
            } else {
                "Jane@Example.COM"
            };
            move || http.create(email, &format!("Jane {i}")).status
        };
        let clients: Vec<_> = (0..64).map(|i| scope.spawn(create(i))).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 63);
    assert_eq!(system.rows(), 1);
}

#[test]
fn what_post_accepted_get_and_list_return_byte_for_byte() {
    let system = System::start();
    let accepted = std::cell::RefCell::new(BTreeMap::new());
    let emails = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,12}@[a-z0-9]{1,8}\\.[a-z]{2,4}";
    // Any text, and text that is a name more often than not.
    let names = prop_oneof![
        any::<String>(),
        "[\\PC]{1,200}",
        "\\s?[a-zé日\u{1F600}\u{200d}]{1,50}\\s?"
    ];
    proptest!(ProptestConfig::with_cases(200), |(email in emails, name in names)| {
        let created = system.http.create(&email, &name);
        prop_assert!([201, 400, 409].contains(&created.status));
        if created.status == 201 {
            prop_assert_eq!(created.body["email"].as_str(), Some(&*email));
            prop_assert_eq!(created.body["name"].as_str(), Some(name.trim()));
            let read = system.http.get(&created.location.unwrap());
            prop_assert_eq!(&read.body, &created.body);
            accepted.borrow_mut().insert(created.body["id"].as_str().unwrap().to_owned(), created.body);
        }
    });
    let accepted = accepted.into_inner();
    assert!(
        accepted.len() > 50,
        "too few were accepted to mean anything: {}",
        accepted.len()
    );
    assert_eq!(list(system.users_addr), accepted);
}

/// All users, by `listUsers`.
fn list(addr: SocketAddr) -> BTreeMap<String, serde_json::Value> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    runtime.unwrap().block_on(async {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut system = transport::client(stream).system;
        let client: users::Client = system.bootstrap(Side::Server);
        tokio::task::spawn_local(system);
        let (mut all, mut token) = (BTreeMap::new(), String::new());
        loop {
            let mut request = client.list_users_request();
            request.get().set_page_token(&token);
            let response = request.send().promise.await.unwrap();
            let which = response.get().unwrap().which().unwrap();
            let list_users_response::Page(page) = which else {
                panic!()
            };
            for user in page.get_users().unwrap() {
                let id = user.get_id().unwrap().to_string().unwrap();
                let (email, name) = (user.get_email().unwrap(), user.get_name().unwrap());
                let (email, name) = (email.to_str().unwrap(), name.to_str().unwrap());
                let user = serde_json::json!({ "id": id, "email": email, "name": name });
                all.insert(id, user);
            }
            token = page.get_next_page_token().unwrap().to_string().unwrap();
            if token.is_empty() {
                return all;
            }
        }
    })
}

#[test]
fn the_services_start_in_any_order_and_without_postgres() {
    let mut server = postgres_server::Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    server.stop();
    let dir = Path::new("/");
    let addr = free_addr();
    let gateway_settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*addr)];
    let mut gateway = Program::start(&binary("gateway"), dir, &gateway_settings);
    let http = Http::new(gateway.addr().port());
    assert_eq!(http.get("/livez").status, 200);
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 503);

    let users_settings = [
        ("RPC_ADDR", &*addr),
        ("DATABASE_URL", &database),
        ("MIGRATE_ON_START", "true"),
    ];
    let mut users = Program::start(&binary("users-svc"), dir, &users_settings);
    users.addr();
    gateway.wait_for("connected");
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 503);
    assert_eq!(http.get("/readyz").status, 503);

    server.start_again().unwrap();
    http.wait_until_ready();
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 201);
}

#[test]
fn sigterm_stops_each_service_with_status_0() {
    let mut system = System::start();
    for program in [&mut system.gateway, &mut system.users] {
        program.signal(Signal::SIGTERM);
        assert_eq!(program.ended().code(), Some(0), "{}", program.output());
    }
}

#[test]
fn each_service_answers_healthchecks() {
    let mut system = System::start();
    let gateway = system.gateway.addr().to_string();
    let users = system.users_addr.to_string();
    let check = |name: &str, setting: &str, addr: &str| {
        let mut check = std::process::Command::new(binary(name));
        check
            .arg("healthcheck")
            .current_dir("/")
            .env(setting, addr)
            .status()
            .unwrap()
            .success()
    };
    assert!(check("gateway", "HTTP_ADDR", &gateway));
    assert!(check("users-svc", "RPC_ADDR", &users));
    system.server.stop();
    assert!(!check("gateway", "HTTP_ADDR", &gateway));
    assert!(!check("users-svc", "RPC_ADDR", &users));
}

#[test]
fn bad_settings_are_refused_at_once_by_name_and_without_secrets() {
    for (program, setting, value) in [
        ("gateway", "HTTP_ADDR", "everywhere"),
        ("gateway", "USERS_ADDR", "users-svc"),
        ("gateway", "REQUEST_TIMEOUT_MS", "5s"),
        ("gateway", "MAX_IN_FLIGHT", "0"),
        ("gateway", "LOG_FORMAT", "xml"),
        ("gateway", "RUST_LOG", "a=b=c"),
        ("users-svc", "DATABASE_URL", "postgres://u:hunter2@h:port/d"),
        ("users-svc", "RPC_ADDR", "4001"),
        ("users-svc", "MIGRATE_ON_START", "perhaps"),
        ("users-svc", "WORKERS", "many"),
        ("users-svc", "DATABASE_POOL_SIZE", "0"),
    ] {
        let mut settings = vec![
            ("DATABASE_URL", "postgres://u:hunter2@h/d"),
            (setting, value),
        ];
        if setting == "DATABASE_URL" {
            settings.remove(0);
        }
        let mut refused = Program::start(&binary(program), Path::new("/"), &settings);
        assert!(!refused.ended().success(), "{setting}={value}");
        let said = refused.wait_for(setting);
        assert!(!refused.output().contains("hunter2"), "{said}");
    }
    let mut refused = Program::start(&binary("users-svc"), Path::new("/"), &[]);
    refused.wait_for("DATABASE_URL");
}

#[test]
fn a_service_starts_in_its_folder_with_its_example_settings() {
    let system = System::start();
    let folder = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let example = root().join(name).join(".env.example");
        fs::copy(example, dir.path().join(".env")).unwrap();
        dir
    };
    // What the environment has already wins over the file.
    let (users_dir, gateway_dir) = (folder("users-svc"), folder("gateway"));
    let settings = [
        ("RPC_ADDR", "127.0.0.1:0"),
        ("DATABASE_URL", &*system.database),
    ];
    let mut users = Program::start(&binary("users-svc"), users_dir.path(), &settings);
    let users_addr = users.addr().to_string();
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users_addr)];
    let mut gateway = Program::start(&binary("gateway"), gateway_dir.path(), &settings);
    let http = Http::new(gateway.addr().port());
    http.wait_until_ready();
    assert_eq!(http.create("jane@example.com", "Jane Doe").status, 201);
}

#[test]
fn a_key_creates_once_however_many_send_it_and_a_refused_attempt_leaves_it_free() {
    let server = postgres_server::Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let system = System::start_on(server, &database, &[], &[]);
    // A second gateway and a second service give the same answers as the first.
    let settings = [("RPC_ADDR", "127.0.0.1:0"), ("DATABASE_URL", &*database)];
    let mut users = Program::start(&binary("users-svc"), Path::new("/"), &settings);
    let users_addr = users.addr().to_string();
    let settings = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users_addr)];
    let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
    let other = Http::new(gateway.addr().port());
    other.wait_until_ready();

    for round in 0..5 {
        let (key, email) = (format!("key-{round}"), format!("jane{round}@example.com"));
        let ids: Vec<(u16, String)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|i| {
                    let http = [&system.http, &other][i % 2];
                    let (key, email) = (&key, &email);
                    scope.spawn(move || {
                        let answer = http.try_create(email, "Jane", Some(key)).unwrap();
                        (
                            answer.status,
                            answer.body["id"].as_str().unwrap().to_owned(),
                        )
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        assert!(
            ids.iter()
                .all(|answer| answer.0 == 201 && *answer == ids[0]),
            "{ids:?}"
        );
        let reused = other.try_create(&email, "John", Some(&key)).unwrap();
        assert_eq!(reused.status, 422);
    }
    assert_eq!(system.rows(), 5);

    let keyed = |email: &str| {
        system
            .http
            .try_create(email, "Free", Some("free"))
            .unwrap()
            .status
    };
    assert_eq!(keyed("no address"), 400);
    assert_eq!(keyed("jane0@example.com"), 409);
    assert_eq!(keyed("free@example.com"), 201);
    assert_eq!(keyed("free@example.com"), 201);
    assert_eq!(system.rows(), 6);
}

#[test]
fn a_service_that_hangs_is_noticed_and_requests_fail_fast_until_it_is_back() {
    let system = System::start();
    assert_eq!(system.http.create("before@example.com", "A").status, 201);
    system.users.signal(Signal::SIGSTOP);
    // What was sent to it is unknown; once it is known to hang, nothing is sent any more.
    let start = Instant::now();
    let first = system.http.create("first@example.com", "A").status;
    assert!(
        [503, 504].contains(&first) && start.elapsed() < Duration::from_secs(7),
        "{first}"
    );
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let start = Instant::now();
        let status = system.http.create("while@example.com", "A").status;
        if status == 503 && start.elapsed() < Duration::from_millis(200) {
            break;
        }
        assert!(Instant::now() < end, "{status} after {:?}", start.elapsed());
    }
    system.users.signal(Signal::SIGCONT);
    system.http.wait_until_ready();
    assert_eq!(system.http.create("after@example.com", "A").status, 201);
}
