//! Finds out which tools this machine has, so that tests which need one it lacks are ignored and say so.
//!
//! With the variable `CI` set, every test is to run: what a test lacks makes it fail.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-env-changed=PATH");
    let everything = env::var_os("CI").is_some();
    let mut lacks_something = false;
    for (cfg, is_there) in [
        ("has_chromedriver", has_chromedriver()),
        ("has_groff", is_on_path("groff")),
        ("has_nss_wrapper", has_nss_wrapper()),
        (
            "has_python_venv",
            says_yes("python3", &["-c", "import ensurepip, venv"]),
        ),
        ("has_cpp_toolchain", has_cpp_toolchain()),
        ("has_many_open_files", has_many_open_files()),
        (
            "has_prometheus",
            is_on_path("prometheus") && is_on_path("promtool"),
        ),
        (
            "has_patroni",
            ["patroni", "patronictl", "etcd", "setpriv"]
                .into_iter()
                .all(is_on_path),
        ),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if is_there || everything {
            println!("cargo::rustc-cfg={cfg}");
        }
        lacks_something |= !is_there;
    }
    if lacks_something {
        watch_for_installations();
    }
}

/// Makes cargo run this again when a tool may have been installed.
fn watch_for_installations() {
    let mut places = path();
    // Changes with every package that is installed on Debian, wherever it puts its files.
    places.push("/var/lib/dpkg/status".into());
    // Cargo takes a path that is not there as one that has changed.
    for place in places.iter().filter(|place| place.exists()) {
        println!("cargo::rerun-if-changed={}", place.display());
    }
}

fn path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect()
}

fn is_on_path(program: &str) -> bool {
    path().iter().any(|folder| folder.join(program).exists())
}

/// Whether a program can be run, and succeeds.
fn says_yes(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn has_chromedriver() -> bool {
    let browsers = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    is_on_path("chromedriver") && browsers.into_iter().any(is_on_path)
}

fn has_nss_wrapper() -> bool {
    let Ok(folders) = Path::new("/usr/lib").read_dir() else {
        return false;
    };
    folders
        .flatten()
        .any(|folder| folder.path().join("libnss_wrapper.so").exists())
}

fn has_cpp_toolchain() -> bool {
    is_on_path("cmake")
        && is_on_path("c++")
        && says_yes(
            "pkg-config",
            &["--exists", "capnp-rpc", "capnp-json", "kj-tls"],
        )
}

fn has_many_open_files() -> bool {
    let enough = r#"limit=$(ulimit -Hn); test "$limit" = unlimited || test "$limit" -ge 11000"#;
    says_yes("sh", &["-c", enough])
}
