//! Peers that speak RPC, and call more than their share, give up what they asked, or never read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use futures::future::join_all;
use tokio::{task::yield_now, time::sleep};

use super::{assert_memory_is_bounded, serve_promptly};
use e2e::admin::value;
use e2e::rpc::block_on;
use e2e::{System, eventually, free_addr, rpc};

/// Makes so many creates at once; returns how many were carried out.
fn flood(addr: SocketAddr, calls: usize) -> usize {
    block_on(async {
        let (client, _) = rpc::connect(addr).await;
        let call = |i| {
            let mut request = client.create_user_request();
            request.get().set_email(format!("flood{i}@example.com"));
            request.get().set_name("Flood");
            request.send().promise
        };
        let calls: Vec<_> = (0..calls).map(call).collect();
        join_all(calls).await.iter().flatten().count()
    })
}

#[test]
fn flood_of_calls_is_refused_beyond_its_share() {
    let system = System::start_with(&[("MAX_IN_FLIGHT", "200")], &[]);
    let created = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(system.users_addr, 20_000));
        serve_promptly(&system, "beside");
        flood.join().unwrap()
    });
    assert!(
        (1..20_000).contains(&created),
        "{created} of 20,000 were let through"
    );
    assert_eq!(system.rows(), i64::try_from(created).unwrap() + 10);
    assert_memory_is_bounded(&system);
}

#[test]
fn connection_gets_half_of_the_calls_in_flight_whatever_the_number_of_workers() {
    let admin = free_addr();
    let settings = [
        ("ADMIN_ADDR", &*admin),
        ("MAX_IN_FLIGHT", "100"),
        ("WORKERS", "16"),
        ("DATABASE_TIMEOUT_MS", "20000"),
    ];
    let system = System::start_with(&settings, &[]);
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    // Creates wait for someone who writes the same users; for a lock of the whole table they do not.
    let same_users = "INSERT INTO users (id, email, name) \
        SELECT gen_random_uuid(), format('flood%s@example.com', i), 'Flood' FROM generate_series(0, 79) AS i";
    transaction.batch_execute(same_users).unwrap();

    thread::scope(|scope| {
        let flood = scope.spawn(|| flood(system.users_addr, 80));
        eventually("half of the calls are in flight", || {
            let refused = [r#"outcome="overloaded""#];
            let refused = value(&admin, "rpc_server_call_duration_seconds_count", &refused);
            refused >= 30.0 && value(&admin, "rpc_server_active_calls", &[]) >= 50.0
        });
        transaction.rollback().unwrap();
        assert_eq!(flood.join().unwrap(), 50);
    });
}

#[test]
fn busy_caller_of_a_hung_database_is_refused_at_once_and_keeps_its_connection() {
    let system = System::start_with(&[("DATABASE_TIMEOUT_MS", "20000")], &[]);
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();
    block_on(async {
        let (client, connection) = rpc::connect(system.users_addr).await;
        let create = |i| {
            let mut request = client.create_user_request();
            request.get().set_email(format!("busy{i}@example.com"));
            request.get().set_name("Busy");
            request.get().init_context().set_timeout_ms(3000);
            request.send().promise
        };
        let mut calls: Vec<_> = (0..1000).map(create).collect();
        client.health_request().send().promise.await.unwrap();
        calls.extend((1000..1500).map(create));

        // It comes behind all of them.
        let begin = Instant::now();
        client.health_request().send().promise.await.unwrap();
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");

        let answers = join_all(calls).await;
        let kinds = answers
            .iter()
            .map(|answer| answer.as_ref().err().map(|error| error.kind));
        let mut refused = 0;
        for kind in kinds {
            let kind = kind.expect("nothing is created");
            assert!(
                matches!(kind, ErrorKind::Overloaded | ErrorKind::Failed),
                "{kind:?}"
            );
            refused += usize::from(kind == ErrorKind::Overloaded);
        }
        assert!(refused >= 300, "{refused}");
        assert!(!connection.is_finished());
        connection.abort();
    });
    transaction.rollback().unwrap();
}

#[test]
fn peer_that_never_reads_stalls_itself() {
    let system = System::start();
    let said = conversation(200_000);
    let mut stream = TcpStream::connect(system.users_addr).unwrap();
    let limit = Some(Duration::from_secs(2));
    stream.set_write_timeout(limit).unwrap();

    let mut pushed = 0;
    while pushed < said.len() {
        match stream.write(&said[pushed..]) {
            Ok(n) => pushed += n,
            Err(_) => break,
        }
    }

    assert!(
        pushed < said.len(),
        "the service read all {pushed} bytes of a peer that reads nothing"
    );
    serve_promptly(&system, "beside");
    assert_memory_is_bounded(&system);
}

/// What a client sends that calls so many times, recorded by a listener that never answers.
fn conversation(calls: usize) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let recorder = thread::spawn(move || {
        let mut said = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut said).unwrap();
        said
    });
    block_on(async {
        let (client, _) = rpc::connect(addr).await;
        let mut unanswered = Vec::new();
        for call in 0..calls {
            unanswered.push(client.get_user_request().send().promise);
            if call % 100 == 0 {
                yield_now().await;
            }
        }
        sleep(Duration::from_secs(1)).await;
    });
    recorder.join().unwrap()
}

/// Gives up call after call until the service ends the connection; returns how many there were.
async fn give_up_calls(addr: SocketAddr) -> usize {
    let (client, _) = rpc::connect(addr).await;
    let get = |id| {
        let mut request = client.get_user_request();
        request.get().set_id(id);
        request.send().promise
    };
    for given_up in (0..100_000).step_by(100) {
        // Its `Finish` follows each call at once, and comes before the answer however slow the machine is.
        for _ in 0..100 {
            drop(get("0190a3f4-7c3e-7cc8-a1b2-0242ac120002"));
        }
        // This one needs no database: the service has read all before it.
        if get("no id").await.is_err() {
            return given_up;
        }
    }
    panic!("the connection is still there");
}

#[test]
fn calls_that_are_given_up_end_their_connection_before_they_fill_the_memory() {
    let system = System::start();
    // Reads wait, so that there is something to give up.
    let mut sql = system.sql();
    let mut transaction = sql.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE users").unwrap();

    let given_up = block_on(give_up_calls(system.users_addr));

    assert!(given_up >= 5_000, "only after {given_up}");
    transaction.rollback().unwrap();
    serve_promptly(&system, "beside");
}
