//! The command lines of our clients when there is no outcome to print.

use serde_json::json;

use super::client::Client;

pub fn wrong_usage_is_told_from_other_failures(client: &Client) {
    let unknown_command = client.command("127.0.0.1:1").arg("destroy").output();
    assert_eq!(unknown_command.unwrap().status.code(), Some(2));

    let address_without_port = client.command("users-svc").arg("list").output().unwrap();
    assert_eq!(address_without_port.status.code(), Some(2));
    let error = String::from_utf8_lossy(&address_without_port.stderr);
    assert!(!error.contains("Traceback"), "{error}");
}

pub fn service_that_is_away_is_unavailable(client: &Client) {
    let (status, printed) = client.run(&e2e::free_addr(), &["get", "x"]);

    assert_eq!((status, &printed["outcome"]), (4, &json!("unavailable")));
}
