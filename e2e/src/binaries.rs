//! The workspace's binaries, built when a test first asks for one.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use escargot::CargoBuild;

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The path of a binary. The first call builds all of them, because cargo builds by itself only those of
/// this package.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(build);
    DIRECTORY.join(name)
}

/// Builds the binaries in the profile of this test, and returns their directory.
fn build() -> PathBuf {
    // <target>/<profile>/deps/<test>
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();

    let binaries = [
        "gateway",
        "users-svc",
        "stack",
        "users-cli",
        "users-conformance",
    ];
    let mut build = CargoBuild::new()
        .manifest_path(root().join("Cargo.toml"))
        // Not by package, which would resolve features anew.
        .args(binaries.iter().flat_map(|binary| ["--bin", binary]))
        // As the images are built.
        .features("otlp")
        .target_dir(profile.parent().unwrap());
    if !cfg!(debug_assertions) {
        build = build.release();
    }
    for message in build.exec().unwrap() {
        message.unwrap();
    }
    profile.to_owned()
}
