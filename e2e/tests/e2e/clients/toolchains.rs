//! What the clients in other languages need: built once, and kept between runs of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use e2e::root;

/// A Python that has the client's requirements.
pub fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> =
        LazyLock::new(|| prepare("venv", make_venv).join("bin/python"));
    &PYTHON
}

/// The folder of the client's programs in C++; `session` is one level above.
pub fn cpp_programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| prepare("cpp", build_cpp).join("client"));
    &PROGRAMS
}

fn make_venv(folder: &Path) {
    let requirements = root().join("clients/python/requirements.txt");
    // Made anew when the requirements change.
    let installed = folder.join("requirements.txt");
    if fs::read(&installed).ok() == fs::read(&requirements).ok() {
        return;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]);
    run(pip.arg(&requirements));
    fs::copy(&requirements, installed).unwrap();
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
fn prepare(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    make(&folder);
    folder
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} fails:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
