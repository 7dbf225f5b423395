//! The form of what is exposed: names, help texts and types by convention, and counters that begin at zero.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use e2e::admin::{exposition, scrape, value};
use e2e::root;

use super::whole::WholeSystem;

/// What promtool says against an exposition; empty when it finds no fault.
fn faults(exposition: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(exposition.as_bytes()).unwrap();
    drop(input);
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(checked.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
#[cfg_attr(
    not(has_prometheus),
    ignore = "needs promtool; on Debian: apt-get install prometheus"
)]
fn promtool_finds_no_fault_in_the_metrics_of_either_service() {
    let whole = WholeSystem::start();
    whole.serve("1");
    for admin in [&whole.gateway_admin, &whole.users_admin] {
        assert_eq!(faults(&exposition(admin)), "");
    }
    assert!(faults("# TYPE misnamed_count gauge\nmisnamed_count 1\n").contains("misnamed_count"));
}

/// The series of counters and histograms.
fn counters(admin: &str) -> BTreeSet<String> {
    let series = scrape(admin).into_iter();
    let series = series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
    series
        .filter(|series| {
            let name = series.split('{').next().unwrap();
            name.ends_with("_total") || name.ends_with("_count")
        })
        .collect()
}

/// A rate cannot show the first event of a series that begins with it.
#[test]
fn every_counter_is_there_before_its_first_event() {
    let mut whole = WholeSystem::start();
    let admins = [whole.gateway_admin.clone(), whole.users_admin.clone()];
    let before = admins.each_ref().map(|admin| counters(admin));

    whole.serve("1");
    whole.fail();
    whole.serve("2");

    for (admin, before) in admins.iter().zip(&before) {
        let now = counters(admin);
        let new: Vec<_> = now.difference(before).collect();
        assert!(new.is_empty(), "{new:#?}");
    }
    let failed = ["http_route=\"/users\"", "code=\"503\""];
    let failed = value(
        &admins[0],
        "http_server_request_duration_seconds_count",
        &failed,
    );
    assert!(failed >= 1.0, "{failed}");
}

#[test]
fn process_and_build_are_told() {
    let whole = WholeSystem::start();
    for (admin, service) in [
        (&whole.gateway_admin, "gateway"),
        (&whole.users_admin, "users_svc"),
    ] {
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        let labels = [&*version, "revision="];
        let build_info = format!("{service}_build_info");
        assert_eq!(value(admin, &build_info, &labels), 1.0);

        let threads = value(admin, "process_threads", &[]);
        assert!((2.0..1_000.0).contains(&threads), "{threads}");
        let resident = value(admin, "process_resident_memory_bytes", &[]);
        assert!((1e6..1e9).contains(&resident), "{resident}");
        let open = value(admin, "process_open_fds", &[]);
        let most = value(admin, "process_max_fds", &[]);
        assert!(3.0 < open && open < most, "{open} of {most}");
    }
}

/// The metrics in the table of docs/OPERATIONS.md that are `of` this service or of both.
fn documented(of: &str) -> BTreeSet<String> {
    let document = fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let section = document.split("\n## Metrics\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut names = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        if [of, "both"].contains(&cells[1].trim()) {
            let quoted = cells[0].split('`').skip(1).step_by(2);
            names.extend(quoted.map(ToOwned::to_owned));
        }
    }
    names
}

/// The metrics that a service exposes.
fn exposed(admin: &str) -> BTreeSet<String> {
    let text = exposition(admin);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|rest| rest.split(' ').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn operations_document_lists_exactly_the_metrics_there_are() {
    let whole = WholeSystem::start();
    assert_eq!(exposed(&whole.gateway_admin), documented("gateway"));
    assert_eq!(exposed(&whole.users_admin), documented("users-svc"));
}
