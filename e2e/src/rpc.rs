//! A client that speaks Cap'n Proto by itself, as a program in another language would.

use std::{collections::BTreeMap, io, net::SocketAddr};

use capnp_rpc::rpc_twoparty_capnp::Side;
use credentials::ClientTls;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_local};
use users_rpc::transport;
use users_rpc::users_capnp::list_users_response::Page;
use users_rpc::users_capnp::{user, users};

use crate::certificates::TlsFiles;

/// Runs what a peer does, on a thread that can speak RPC.
pub fn block_on<T>(talk: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    runtime.unwrap().block_on(talk)
}

/// Connects to a users service. The task ends with the connection.
pub async fn connect(addr: SocketAddr) -> (users::Client, JoinHandle<Result<(), capnp::Error>>) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut rpc = transport::client(stream).system;
    let client = rpc.bootstrap(Side::Server);
    (client, spawn_local(rpc))
}

/// The same over mutual TLS. The service's certificate must be for `host`.
pub async fn connect_with_tls(
    addr: SocketAddr,
    host: &str,
    tls: &TlsFiles,
) -> io::Result<(users::Client, JoinHandle<Result<(), capnp::Error>>)> {
    let tls = ClientTls::mutual(tls.credentials()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(addr).await?;
    let (stream, _) = tls.connect(host, stream).await?;
    let mut rpc = transport::client(stream).system;
    let client = rpc.bootstrap(Side::Server);
    Ok((client, spawn_local(rpc)))
}

/// All users of the service on `addr`, by `listUsers`.
pub fn list_users(addr: SocketAddr) -> BTreeMap<String, Value> {
    block_on(async {
        let (client, _) = connect(addr).await;
        let (mut all, mut token) = (BTreeMap::new(), String::new());
        loop {
            let mut request = client.list_users_request();
            request.get().set_page_token(&token);
            let response = request.send().promise.await.unwrap();
            let Page(page) = response.get().unwrap().which().unwrap() else {
                panic!("the page is refused")
            };

            for user in page.get_users().unwrap() {
                let user = to_json(user);
                all.insert(user["id"].as_str().unwrap().to_owned(), user);
            }
            token = page.get_next_page_token().unwrap().to_string().unwrap();
            if token.is_empty() {
                return all;
            }
        }
    })
}

fn to_json(user: user::Reader) -> Value {
    let text = |text: capnp::Result<capnp::text::Reader>| text.unwrap().to_string().unwrap();
    json!({
        "id": text(user.get_id()),
        "email": text(user.get_email()),
        "name": text(user.get_name()),
    })
}
