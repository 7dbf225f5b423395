//! Calls over one RPC connection on loopback, both ends in this thread, without a database.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

use std::{net::Ipv4Addr, rc::Rc};

use capnp_rpc::rpc_twoparty_capnp::Side;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use users_rpc::transport;
use users_rpc::users_capnp::users;
use users_rpc::users_capnp::users::{CreateUserParams, CreateUserResults};

/// Enough for one iteration to dwarf the start of the process when instructions are counted.
const CALLS: u64 = 10_000;

/// Answers with what it was asked.
struct Echo;

impl users::Server for Echo {
    async fn create_user(
        self: Rc<Self>,
        params: CreateUserParams,
        mut results: CreateUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let mut user = results.get().init_user();
        user.set_id(request.get_id()?);
        user.set_email(request.get_email()?);
        user.set_name(request.get_name()?);
        Ok(())
    }
}

async fn connected() -> users::Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    transport::set_socket_options(&stream).unwrap();
    transport::set_socket_options(&accepted).unwrap();
    let echo: users::Client = capnp_rpc::new_client(Echo);
    tokio::task::spawn_local(transport::server(accepted, echo.client).system);
    let mut system = transport::client(stream).system;
    let users = system.bootstrap(Side::Server);
    tokio::task::spawn_local(system);
    users
}

async fn call(users: &users::Client) {
    let mut request = users.create_user_request();
    let mut params = request.get();
    params.set_id("0190a3f4-7c3e-7cc8-a1b2-0242ac120002");
    params.set_email("jane@example.com");
    params.set_name("Jane Doe");
    let response = request.send().promise.await.unwrap();
    assert!(response.get().unwrap().has_user());
}

fn transport(criterion: &mut Criterion) {
    let runtime = LocalRuntime::new().unwrap();
    let users = runtime.block_on(connected());
    let mut group = criterion.benchmark_group("transport");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(CALLS));
    for in_flight in [1, 64] {
        group.bench_function(format!("{CALLS} calls, {in_flight} in flight"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    join_all((0..in_flight).map(async |_| {
                        for _ in 0..CALLS / in_flight {
                            call(&users).await;
                        }
                    }))
                    .await;
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transport);
criterion_main!(benches);
