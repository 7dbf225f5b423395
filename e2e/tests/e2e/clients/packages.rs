//! What other projects get of our clients, in the words of docs/CLIENTS.md: a package for pip, an
//! installation for CMake.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::root;

use super::service::Service;
use super::toolchains::{build_python_package, cpp_programs, prepare, python, run};

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_packages_from_the_tree_and_from_its_sdist_have_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = build_python_package(python(), "wheel", &folder.path().join("dist"));
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-index", "--target"]);
    run(pip.arg(folder.path()).arg(wheel));

    let from_the_tree = content_of(&folder.path().join("users_client"));
    let out_of_sdist = content_of(&installed_python_client());
    let mut sources = content_of(&root().join("clients/python/users_client"));
    let schema = fs::read(root().join("schema/users.capnp")).unwrap();
    sources.insert("users.capnp".into(), schema);
    assert!(sources.contains_key("py.typed"));
    assert_eq!(names(&out_of_sdist), names(&sources));
    assert!(from_the_tree == sources && out_of_sdist == sources);
}

#[test]
#[cfg_attr(
    not(has_python_venv),
    ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
)]
fn python_client_without_its_package_says_where_the_schema_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut python = Command::new(python());
    python.args(["-m", "users_client", "get", "x"]);
    python.env("USERS_SCHEMA", folder.path().join("users.capnp"));

    let output = python.output().unwrap();

    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("users.capnp cannot be read: No such file"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
#[cfg_attr(
    not(has_cpp_toolchain),
    ignore = "needs a C++ compiler with Cap'n Proto; on Debian: \
              apt-get install g++ cmake pkg-config capnproto libcapnp-dev"
)]
fn cpp_project_of_the_document_builds_with_an_installed_client_and_runs() {
    let service = Service::start();
    let program = prepare("cpp-project", |folder| {
        let (prefix, build) = (folder.join("prefix"), folder.join("build"));
        let mut install = Command::new("cmake");
        install.arg("--install").arg(cpp_programs());
        run(install.arg("--prefix").arg(&prefix));

        write_if_other(&folder.join("CMakeLists.txt"), &block("cmake"));
        write_if_other(&folder.join("main.c++"), &block("cpp"));
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(folder).arg("-B").arg(&build);
        run(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
        run(Command::new("cmake").arg("--build").arg(&build));
    })
    .join("build/my-service");

    let output = Command::new(&program).arg(&service.addr).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "stored\n");
    assert_eq!(service.rows_of("ada@example.com"), 1);

    let nobody = Command::new(&program).arg("127.0.0.1:1").output().unwrap();
    assert_eq!(nobody.status.code(), Some(4));
    let error = String::from_utf8_lossy(&nobody.stderr);
    assert!(error.contains("127.0.0.1:1 cannot be reached"), "{error}");
}

/// The folder of the installed module `users_client`.
fn installed_python_client() -> std::path::PathBuf {
    let mut python = Command::new(python());
    // Not in a folder that has a module of this name.
    python.current_dir("/");
    python.args(["-c", "import users_client; print(users_client.__path__[0])"]);
    let output = python.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The files of a folder, without what Python compiles.
fn content_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&String> {
    files.keys().collect()
}

/// The first block of the document that is marked as in this language.
fn block(language: &str) -> String {
    let document = fs::read_to_string(root().join("docs/CLIENTS.md")).unwrap();
    let (_, rest) = document.split_once(&format!("```{language}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// Writes a file, but for one that has the content already, which need not be compiled again then.
fn write_if_other(path: &Path, content: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(content) {
        fs::write(path, content).unwrap();
    }
}
