//! What the clients in Python and C++ say when they do not get through: one line that names the address or
//! the file, and why.

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;
use std::{fs, thread};

use e2e::certificates::Certificates;
use e2e::free_addr;
use e2e::proxy::silent_server;

use super::client::{Client, output_of};

tests_of_foreign_clients! {
    error_texts::unavailable_names_the_address_and_why,
    error_texts::peer_without_tls_is_unavailable_for_that_reason,
    error_texts::address_that_cannot_be_one_is_wrong_usage_in_a_line,
    error_texts::tls_file_that_cannot_be_used_is_named_with_its_fault,
    error_texts::unknown_option_is_refused,
    error_texts::number_that_is_none_is_refused_before_a_connection,
    error_texts::help_names_verbs_settings_and_exit_statuses,
}

pub fn unavailable_names_the_address_and_why(client: &Client) {
    let (silent, garbling) = (silent_server().to_string(), garbling_peer());
    for (addr, reason) in [
        (&*free_addr(), "connection refused"),
        ("[::1]:1", "connection refused"),
        ("nobody.invalid:4001", "its name has no address"),
        (&*silent, "does not answer in time"),
        (&*garbling, ""),
    ] {
        let mut get = client.command_with_timeout(addr, Duration::from_millis(1500));
        let (status, printed) = output_of(get.args(["get", "x"]));

        let detail = printed["detail"].as_str().unwrap();
        assert_eq!(status, 4, "{detail}");
        let service = format!("the users service at {addr} ");
        assert!(
            detail.starts_with(&service) && detail.contains(reason) && !detail.contains('\n'),
            "no {service:?} and {reason:?} in {detail:?}"
        );
    }
}

pub fn peer_without_tls_is_unavailable_for_that_reason(client: &Client) {
    let certificates = Certificates::new();
    let client = client.with_tls(&certificates.issue("gateway"));
    let addr = garbling_peer().replace("127.0.0.1", "localhost");

    let (status, printed) = client.run(&addr, &["get", "x"]);

    let detail = printed["detail"].as_str().unwrap();
    assert_eq!(status, 4, "{detail}");
    assert!(
        detail.contains("it does not speak TLS as expected"),
        "{detail}"
    );
}

pub fn address_that_cannot_be_one_is_wrong_usage_in_a_line(client: &Client) {
    for addr in [
        "users-svc",
        ":4001",
        "127.0.0.1:",
        "127.0.0.1:70000",
        "127.0.0.1:rpc",
    ] {
        let output = client.command(addr).args(["get", "x"]).output().unwrap();

        assert_is_wrong_usage(&output, &[addr, "host:port"]);
    }
}

pub fn tls_file_that_cannot_be_used_is_named_with_its_fault(client: &Client) {
    let certificates = Certificates::new();
    let files = certificates.issue("gateway");
    let of = |cert: &str, key: &str, ca: &str| {
        let mut files = files.clone();
        (files.cert, files.key, files.ca) = (cert.into(), key.into(), ca.into());
        let client = client.with_tls(&files);
        let mut get = client.command("localhost:1");
        get.args(["get", "x"]).output().unwrap()
    };
    let missing = format!("{}.missing", files.key);
    let text = format!("{}.txt", files.key);
    fs::write(&text, "no PEM").unwrap();

    let (cert, key, ca) = (&*files.cert, &*files.key, &*files.ca);
    assert_is_wrong_usage(&of(&missing, key, ca), &[&missing, "No such file"]);
    assert_is_wrong_usage(&of(cert, &missing, ca), &[&missing, "No such file"]);
    assert_is_wrong_usage(&of(&text, key, ca), &[&text, "no certificate"]);
    assert_is_wrong_usage(&of(cert, &text, ca), &[&text, "no private key"]);
    assert_is_wrong_usage(&of(cert, key, &text), &[&text, "no certificate"]);
}

pub fn unknown_option_is_refused(client: &Client) {
    let mut get = client.command("127.0.0.1:1");
    let output = get.args(["get", "x", "--page-sise", "3"]).output().unwrap();

    assert_is_wrong_usage(&output, &["--page-sise"]);
}

pub fn number_that_is_none_is_refused_before_a_connection(client: &Client) {
    let mut list = client.command("127.0.0.1:1");
    let output = list.args(["list", "--page-size", "x"]).output().unwrap();

    assert_is_wrong_usage(&output, &["page-size"]);
}

pub fn help_names_verbs_settings_and_exit_statuses(client: &Client) {
    let output = client
        .command("127.0.0.1:1")
        .arg("--help")
        .output()
        .unwrap();

    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{help}");
    let verbs = ["create", "get", "find", "list"];
    let settings = [
        "USERS_ADDR",
        "USERS_TLS_CERT",
        "USERS_TLS_KEY",
        "USERS_TLS_CA",
    ];
    let statuses: Vec<String> = (0..=6).map(|status| format!("\n  {status}  ")).collect();
    let statuses = statuses.iter().map(String::as_str);
    for word in verbs.into_iter().chain(settings).chain(statuses) {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
}

fn assert_is_wrong_usage(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

/// A peer that says what is not Cap'n Proto, and ends the connection.
fn garbling_peer() -> String {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let _ = peer.write_all(&[b'?'; 1024]);
        }
    });
    addr
}
