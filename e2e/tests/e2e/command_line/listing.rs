//! `list`: pages, all of them as one table, and readers that leave.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use e2e::{admin, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Service;

impl Service {
    /// Pages that were read.
    fn pages(&self) -> f64 {
        let name = "rpc_server_call_duration_seconds_count";
        admin::value(&self.admin, name, &["listUsers"])
    }
}

#[test]
fn all_pages_are_one_table() {
    let service = Service::with_users(120);

    let table = service
        .run(&["list", "--all", "--page-size", "50"])
        .succeeded();

    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 121);
    let headers = lines.iter().filter(|line| line.starts_with("ID ")).count();
    assert_eq!((headers, lines[0].starts_with("ID ")), (1, true));
    let mut ids: Vec<_> = lines[1..].iter().map(|line| &line[..36]).collect();
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), 120);
}

#[test]
fn page_tells_the_option_for_the_next_one() {
    let service = Service::with_users(3);

    let first = service.run(&["list", "--page-size", "2"]);
    let option = first.error.strip_prefix("more: ").unwrap().trim_end();
    let words: Vec<_> = ["list", "--page-size", "2"]
        .into_iter()
        .chain(option.split(' '))
        .collect();
    let second = service.run(&words);

    assert_eq!((first.status, first.lines().len()), (Some(0), 3));
    assert_eq!(second.succeeded().lines().count(), 2);
}

#[test]
fn all_pages_as_json_have_the_users_of_each_page_on_a_line() {
    let service = Service::with_users(5);

    let json = service
        .run(&["list", "--all", "--page-size", "2", "-o", "json"])
        .succeeded();

    let pages = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let users: Vec<_> = pages
        .map(|page| page["users"].as_array().unwrap().len())
        .collect();
    assert_eq!(users, [2, 2, 1]);
}

#[test]
fn reader_that_leaves_ends_a_list_quietly_and_no_further_page_is_read() {
    let service = Service::with_users(5000);
    let mut list = service.command(&["list", "--all", "--page-size", "10"]);
    let mut list = list
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let mut lines = BufReader::new(list.stdout.take().unwrap()).lines();
    let header = lines.next().unwrap().unwrap();
    drop(lines);

    let status = list.wait().unwrap();
    let mut error = String::new();
    list.stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    assert_eq!((status.code(), &*error), (Some(0), ""));
    assert!(header.starts_with("ID "), "{header}");
    // As much as fits into the pipe.
    assert!(service.pages() < 250.0, "{} pages", service.pages());
}

#[test]
fn reader_that_leaves_ends_a_list_that_waits_for_a_page() {
    let service = Service::with_users(20_000);
    let (mut list, mut reader) = list_into_cat(&service);
    service.program.signal(Signal::SIGSTOP);
    assert!(list.try_wait().unwrap().is_none(), "it is not through yet");

    reader.kill().unwrap();
    reader.wait().unwrap();

    eventually("the list ends", || list.try_wait().unwrap().is_some());
    assert_eq!(list.wait().unwrap().code(), Some(0));
}

#[test]
fn list_that_breaks_off_says_where_to_go_on() {
    let mut service = Service::with_users(20_000);
    let (list, mut reader) = list_into_cat(&service);

    service.program.kill();

    let output = list.wait_with_output().unwrap();
    reader.wait().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("to go on where it stopped: list --all --page-token "),
        "{error}"
    );
}

/// A list of many pages, of which some have been read, and the process that reads what it prints.
fn list_into_cat(service: &Service) -> (Child, Child) {
    let mut reader = Command::new("cat");
    let reader = reader.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut reader = reader.unwrap();
    let words = ["--timeout-ms", "60000", "list", "--all", "--page-size", "1"];
    let mut list = service.command(&words);
    list.stdout(reader.stdin.take().unwrap())
        .stderr(Stdio::piped());
    let started = list.spawn().unwrap();
    // It keeps an end of the pipe.
    drop(list);
    eventually("some pages are read", || service.pages() >= 10.0);
    (started, reader)
}
