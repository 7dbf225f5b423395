//! A service of an earlier version, which knows fewer methods.

use std::{rc::Rc, thread};

use serde_json::json;
use users_rpc::{transport, users_capnp::users};

use super::client::Client;

pub fn lacking_method_is_reported_as_unimplemented(client: &Client) {
    let addr = start_old_service();

    let words = ["create", "--email", "a@b.io", "--name", "A"];
    let (status, printed) = client.run(&addr, &words);
    assert_eq!((status, &printed["outcome"]), (3, &json!("emailTaken")));

    for words in [&["get", "x"][..], &["list"]] {
        let (status, printed) = client.run(&addr, words);
        assert_eq!((status, &printed["outcome"]), (6, &json!("unimplemented")));
    }
}

/// Knows `createUser` only, and has the same answer to every call.
struct OldService;

impl users::Server for OldService {
    async fn create_user(
        self: Rc<Self>,
        _: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_email_taken(());
        Ok(())
    }
}

/// Its address. It ends with this process.
fn start_old_service() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let users: users::Client = capnp_rpc::new_client(OldService);
                let connection = transport::server(stream, users.client);
                tokio::task::spawn_local(connection.system);
            }
        });
    });
    addr
}
