//! What the clients in other languages need: built once, and kept between runs of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use e2e::root;

/// A Python in which the client is installed, out of its sdist, as by someone who gets it from an index.
pub fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> =
        LazyLock::new(|| prepare("python", install_python_client).join("bin/python"));
    &PYTHON
}

/// The folder of the client's programs in C++; `session` is one level above.
pub fn cpp_programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| prepare("cpp", build_cpp).join("client"));
    &PROGRAMS
}

fn install_python_client(venv: &Path) {
    let python = venv.join("bin/python");
    let project = root().join("clients/python");
    let versions = root().join(".ci/requirements.txt");
    let pip_install = || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        // With the hatchling of this folder, which has the version that is asked for.
        pip.arg("--no-build-isolation");
        pip
    };
    make_again_after_changes(
        venv,
        "requirements",
        &[&versions, &project.join("pyproject.toml")],
        || {
            run(Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(venv));
            let mut pip = pip_install();
            run(pip.arg("hatchling").arg("--constraint").arg(&versions));
            let mut pip = pip_install();
            run(pip.arg(&project).arg("--constraint").arg(&versions));
        },
    );

    let modules = files_in(&project.join("users_client"));
    let mut sources: Vec<&Path> = modules.iter().map(PathBuf::as_path).collect();
    let others = ["pyproject.toml", "hatch_build.py"].map(|name| project.join(name));
    sources.extend(others.iter().map(PathBuf::as_path));
    let schema = root().join("schema/users.capnp");
    sources.push(&schema);
    make_again_after_changes(venv, "sources", &sources, || {
        let sdist = build_python_package(&python, "sdist", &venv.join("dist"));
        let mut pip = pip_install();
        pip.args(["--no-deps", "--no-index", "--force-reinstall"]);
        run(pip.arg(sdist));
    });
}

/// Builds the Python client as an `sdist` or a `wheel` in a folder that is emptied before, and returns
/// the package's path.
pub fn build_python_package(python: &Path, kind: &str, folder: &Path) -> PathBuf {
    let _ = fs::remove_dir_all(folder);
    let mut hatchling = Command::new(python);
    hatchling.args(["-m", "hatchling", "build", "--target", kind]);
    hatchling.current_dir(root().join("clients/python"));
    run(hatchling.arg("--directory").arg(folder));
    files_in(folder).remove(0)
}

/// Calls `make` unless the files have the content that they had when it was called last.
fn make_again_after_changes(folder: &Path, name: &str, files: &[&Path], make: impl FnOnce()) {
    let content: Vec<u8> = files
        .iter()
        .flat_map(|file| fs::read(file).unwrap())
        .collect();
    let made_of = folder.join(format!("{name}.made-of"));
    if fs::read(&made_of).ok() != Some(content.clone()) {
        make();
        fs::write(made_of, content).unwrap();
    }
}

/// The files in a folder, by their names.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn build_cpp(folder: &Path) {
    // CMake remembers where the sources were, and does not follow a checkout that was moved.
    let _ = fs::remove_file(folder.join("CMakeCache.txt"));
    let mut configure = Command::new("cmake");
    let sources = root().join("e2e/clients");
    run(configure.arg("-S").arg(sources).arg("-B").arg(folder));

    let mut build = Command::new("cmake");
    run(build.arg("--build").arg(folder).args(["--parallel", "2"]));
}

/// Lets `make` fill a folder that is kept, while no other process of these tests does.
pub fn prepare(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    make(&folder);
    folder
}

/// Runs a command that has to succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} fails:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
