//! The examples that docs/CLIENTS.md links to run, and do what they show.

use std::fs;
use std::process::Command;

use e2e::{binary, root};

use super::service::Service;
use super::toolchains::{cpp_programs, python};

#[test]
fn rust_tour_runs() {
    let printed = run(&mut rust_tour(), &Service::shared());

    assert_contains(&printed, &["created", "replayed true", "read", "listed"]);
}

#[test]
fn rust_tour_says_in_a_line_when_there_is_no_service() {
    assert_fails_in_a_line(rust_tour().arg("127.0.0.1:1"), "127.0.0.1:1");
    assert_fails_in_a_line(rust_tour().arg("nowhere"), "nowhere");
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_example_runs() {
    let mut example = Command::new(python());
    example.arg(root().join("clients/python/example.py"));

    let printed = run(&mut example, &Service::shared());

    assert_contains(&printed, &["created", "replayed True", "read", "listed"]);
}

#[test]
#[cfg_attr(
    not(has_cpp_toolchain),
    ignore = "needs a C++ compiler with Cap'n Proto; on Debian: \
              apt-get install g++ cmake pkg-config capnproto libcapnp-dev"
)]
fn cpp_example_creates_and_then_replays() {
    let service = Service::start();
    let example = || Command::new(cpp_programs().join("example"));

    assert_contains(&run(&mut example(), &service), &["created"]);
    assert_contains(&run(&mut example(), &service), &["replayed"]);
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_example_says_in_a_line_when_there_is_no_service() {
    let mut example = Command::new(python());
    example.arg(root().join("clients/python/example.py"));

    assert_fails_in_a_line(example.arg("127.0.0.1:1"), "127.0.0.1:1");
}

#[test]
#[cfg_attr(
    not(has_cpp_toolchain),
    ignore = "needs a C++ compiler with Cap'n Proto; on Debian: \
              apt-get install g++ cmake pkg-config capnproto libcapnp-dev"
)]
fn cpp_example_says_in_a_line_when_there_is_no_service() {
    for addr in ["127.0.0.1:1", "nobody.invalid:4001", "127.0.0.1:70000"] {
        let mut example = Command::new(cpp_programs().join("example"));
        assert_fails_in_a_line(example.arg(addr), addr);
    }
    let mut help = Command::new(cpp_programs().join("example"));
    let output = help.arg("--help").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("usage: example"));
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_in_the_document_runs() {
    let service = Service::start();
    let (_, port) = service.addr.rsplit_once(':').unwrap();
    let document = fs::read_to_string(root().join("docs/CLIENTS.md")).unwrap();
    let blocks = document.split("```python\n").skip(1);
    let printed: Vec<String> = blocks
        .map(|block| {
            let program = block.split("```").next().unwrap().replace("4001", port);
            let mut python = Command::new(python());
            python.current_dir(root()).args(["-c", &program]);
            run(&mut python, &service)
        })
        .collect();

    assert_eq!(printed.len(), 3);
    assert_contains(&printed[0], &["before notFound", "after revoked"]);
    let of_each = ["grace@example.com stored", "alan not stored: Invalid("];
    assert_contains(&printed[1], &of_each);
    assert_contains(&printed[2], &["user "]);
}

fn rust_tour() -> Command {
    let target = binary("users-cli").ancestors().nth(2).unwrap().to_owned();
    let tour = escargot::CargoBuild::new()
        .manifest_path(root().join("Cargo.toml"))
        .package("users-client")
        .example("tour")
        .target_dir(target);
    tour.run().unwrap().command()
}

/// Runs an example against a service, and returns what it prints.
fn run(example: &mut Command, service: &Service) -> String {
    let output = example.arg(&service.addr).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{error}");
    printed
}

fn assert_fails_in_a_line(example: &mut Command, word: &str) {
    let output = example.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(word), "no {word:?} in {error}");
}

fn assert_contains(printed: &str, expected: &[&str]) {
    for expected in expected {
        assert!(printed.contains(expected), "no {expected:?} in {printed}");
    }
}
