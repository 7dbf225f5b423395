//! A service of an earlier version, which knows fewer methods.

use serde_json::json;
use users_conformance::Step;

use super::client::Client;
use super::conformance as scripted;

pub fn lacking_method_is_reported_as_unimplemented(client: &Client) {
    let addr = scripted::start(&[Step::SaysEmailTaken]);

    let words = ["create", "--email", "a@b.io", "--name", "A"];
    let (status, printed) = client.run(&addr, &words);
    assert_eq!((status, &printed["outcome"]), (3, &json!("emailTaken")));

    for words in [&["get", "x"][..], &["find", "a@b.io"], &["list"]] {
        let (status, printed) = client.run(&addr, words);
        assert_eq!((status, &printed["outcome"]), (6, &json!("unimplemented")));
    }
}
