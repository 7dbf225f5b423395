//! Mutual TLS between the services: who comes in, and what they may do.

mod files;
mod hostile;
mod lifetimes;
mod rotation;

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::UNIX_EPOCH;

use capnp::ErrorKind;
use capnp::capability::FromClientHook as _;
use users_rpc::users_capnp::{find_user_response, user_directory, users};

use e2e::certificates::{Certificates, TlsFiles};
use e2e::rpc::{self, block_on};
use e2e::{System, free_addr, healthcheck_with};

/// A system whose services show certificates, in which `reader` may only read.
fn system(certificates: &Certificates) -> System {
    let service = certificates.issue_for_service();
    let gateway = certificates.issue("gateway");
    let users = [&service.of_service()[..], &[("RPC_READERS", "reader")]].concat();
    System::start_with(&users, &gateway.of_caller())
}

/// Creates a user over a connection that shows these certificates.
fn create(system: &System, host: &str, tls: &TlsFiles) -> Result<(), String> {
    block_on(async {
        let connected = rpc::connect_with_tls(system.users_addr, host, tls).await;
        let (users, _) = connected.map_err(|error| error.to_string())?;
        let mut request = users.create_user_request();
        request.get().set_email("intruder@example.com");
        request.get().set_name("Intruder");
        let response = request.send().promise.await;
        response.map(drop).map_err(|error| error.to_string())
    })
}

#[test]
fn services_that_show_certificates_create_users() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    let created = system.http.create("jane@example.com", "Jane");
    assert_eq!(created.status, 201);
    assert_eq!(system.http.get(&created.location.unwrap()).status, 200);
    assert!(!system.users.output().contains("whoever reaches RPC_ADDR"));
}

#[test]
fn healthcheck_shows_the_certificate_of_its_service() {
    let certificates = Certificates::new();
    let service = certificates.issue_for_service();
    let system = system(&certificates);
    let addr = system.users_addr.to_string();
    let with_tls = [&service.of_service()[..], &[("RPC_ADDR", &addr)]].concat();
    assert!(healthcheck_with("users-svc", &with_tls));
    assert!(!healthcheck_with("users-svc", &[("RPC_ADDR", &addr)]));
}

#[test]
fn caller_without_a_valid_certificate_gets_nothing() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let system = system(&certificates);

    // Its own CA signs it, and it trusts the service's.
    let mut stranger = others.issue("gateway");
    stranger.ca = certificates.ca().to_owned();
    let refused = create(&system, "localhost", &stranger).unwrap_err();
    assert!(refused.contains("fatal alert"), "{refused}");

    // Without a certificate.
    let stream = TcpStream::connect(system.users_addr).unwrap();
    let mut stream = credentials::connect_unverified(stream).unwrap();
    let refused = stream.read(&mut [0]).unwrap_err().to_string();
    assert!(refused.contains("CertificateRequired"), "{refused}");

    // In plain text.
    let plain = block_on(async {
        let (users, _) = rpc::connect(system.users_addr).await;
        users.health_request().send().promise.await.map(drop)
    });
    assert!(plain.is_err());
    assert_eq!(system.rows(), 0);
    // A bad caller costs nobody else anything.
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
}

/// Makes a handshake by curl, in this version of TLS only. Returns curl's account of it, and whether it was finished.
fn shake_hands(system: &System, caller: &TlsFiles, version: &str) -> (String, bool) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20"]);
    curl.args(["--tls-max", version, &format!("--tlsv{version}")]);
    curl.args(["--cacert", &caller.ca, "--cert", &caller.cert]);
    curl.args(["--key", &caller.key]);
    // Seconds until the end of the handshake, and none if there is no end.
    curl.args(["--write-out", "%{time_appconnect}"]);
    let url = format!("https://localhost:{}/", system.users_addr.port());
    let output = curl.arg(url).output().unwrap();
    let seconds: f64 = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let account = String::from_utf8(output.stderr).unwrap();
    (account, seconds > 0.0)
}

#[test]
fn caller_that_speaks_only_tls_1_2_is_told_that_it_is_the_wrong_version() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    let caller = certificates.issue("caller");

    let (refused, was_old_finished) = shake_hands(&system, &caller, "1.2");
    let (_, was_new_finished) = shake_hands(&system, &caller, "1.3");

    assert!(refused.contains("alert protocol version"), "{refused}");
    assert!(!was_old_finished);
    assert!(was_new_finished);
}

#[test]
fn service_whose_certificate_is_for_another_host_or_of_another_ca_is_not_called() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let system = system(&certificates);

    let gateway = certificates.issue("gateway");
    let refused = create(&system, "elsewhere.example.com", &gateway).unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");

    let mut misled = certificates.issue("gateway");
    misled.ca = others.ca().to_owned();
    let refused = create(&system, "localhost", &misled).unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    assert_eq!(system.rows(), 0);
}

#[test]
fn reader_gets_a_directory_and_cannot_create() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);

    let reader = certificates.issue("reader");
    let refused = create(&system, "localhost", &reader).unwrap_err();
    assert!(refused.contains("Unimplemented"), "{refused}");
    block_on(async {
        let connected = rpc::connect_with_tls(system.users_addr, "localhost", &reader).await;
        let (users, _) = connected.unwrap();
        let directory: user_directory::Client = users.clone().cast_to();
        let mut request = directory.find_user_request();
        request.get().set_email("JANE@example.com");
        let response = request.send().promise.await.unwrap();
        let found = response.get().unwrap().which().unwrap();
        assert!(matches!(found, find_user_response::User(_)));

        // Whatever it calls the object.
        let again: users::Client = directory.cast_to();
        let made = again.directory_request().send().promise.await;
        let refused = made.map(drop).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unimplemented);
    });
    assert_eq!(system.rows(), 1);
}

#[test]
fn rust_client_that_may_only_read_reads() {
    use users_client::{CallError, ClientTls, NewUser, UsersClient};

    let certificates = Certificates::new();
    let system = system(&certificates);
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    let tls = ClientTls::mutual(certificates.issue("reader").credentials()).unwrap();
    let endpoints = system.users_addr.to_string().parse().unwrap();
    let users = UsersClient::connect_with_tls(&endpoints, tls).unwrap();

    block_on(async {
        let jane = users.find_user("jane@example.com").await.unwrap().unwrap();
        assert_eq!(users.get_user(&jane.id).await.unwrap(), Some(jane));
        assert!(users.health().await.unwrap());
        let new = NewUser {
            id: uuid::Uuid::now_v7(),
            email: "joe@example.com".into(),
            name: "Joe".into(),
        };
        assert_eq!(users.create_user(new).await, Err(CallError::Unimplemented));
    });
}

#[test]
fn metrics_tell_from_when_to_when_certificates_are_valid() {
    let certificates = Certificates::new();
    let (users_admin, gateway_admin) = (free_addr(), free_addr());
    let service = certificates.issue_for_service();
    let gateway = certificates.issue("gateway");
    let users = [&service.of_service()[..], &[("ADMIN_ADDR", &users_admin)]].concat();
    let caller = [&gateway.of_caller()[..], &[("ADMIN_ADDR", &gateway_admin)]].concat();
    let _system = System::start_with(&users, &caller);

    for (admin, setting) in [
        (&users_admin, "RPC_TLS_CERT"),
        (&users_admin, "RPC_TLS_CA"),
        (&gateway_admin, "USERS_TLS_CERT"),
        (&gateway_admin, "USERS_TLS_CA"),
    ] {
        let unix_time = |bound| {
            let name = format!("tls_certificate_{bound}_timestamp_seconds");
            e2e::admin::value(admin, &name, &[setting])
        };
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let (age, left) = (now - unix_time("not_before"), unix_time("not_after") - now);
        // From an hour before now, or a minute, until a day after.
        assert!((0.0..3700.0).contains(&age), "{setting}: {age}");
        assert!((86_000.0..86_400.0).contains(&left), "{setting}: {left}");
    }
}

#[test]
fn service_that_listens_beyond_this_machine_without_tls_says_so() {
    let mut users = e2e::spawn_users("0.0.0.0:0", &e2e::database::fresh_database(), &[]);
    users.wait_for("whoever reaches RPC_ADDR may create and read users");
}
