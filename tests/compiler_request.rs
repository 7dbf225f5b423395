//! The checked-in compiler request is what `schema/users.capnp` compiles to.

#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

/// What to run after a change of the schema.
const REGENERATE: &str =
    "capnp compile -o- --src-prefix=schema schema/users.capnp > schema/users.capnp.req";

#[test]
#[cfg_attr(
    not(has_capnp_tool),
    ignore = "needs the capnp tool; on Debian: apt-get install capnproto"
)]
fn tool_and_request_generate_the_same_code() {
    let tool = std::env::var("CAPNP").unwrap_or("capnp".into());
    let compile = [
        "compile",
        "-o-",
        "--src-prefix=schema",
        "schema/users.capnp",
    ];
    let compiled = Command::new(tool).args(compile).output().unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let checked_in = fs::read("schema/users.capnp.req").unwrap();
    assert_eq!(
        generate(&compiled.stdout),
        generate(&checked_in),
        "run `{REGENERATE}`"
    );
}

/// The Rust code for a compiler request, without the line that names the compiler's version.
fn generate(request: &[u8]) -> String {
    let out = tempfile::tempdir().unwrap();
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out.path())
        .run(request)
        .unwrap();
    let code = fs::read_to_string(out.path().join("users_capnp.rs")).unwrap();
    code.lines()
        .filter(|line| !line.starts_with("// capnp binary version"))
        .collect::<Vec<_>>()
        .join("\n")
}
