//! The checked-in compiler request is what `schema/users.capnp` compiles to.

#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

use uuid::Uuid;

/// What to run after a change of the schema.
const REGENERATE: &str =
    "capnp compile -o- --src-prefix=schema schema/users.capnp > schema/users.capnp.req";

/// Fingerprint of the schema's text from which the request was made: notices a change of the
/// schema on machines that have no `capnp` tool to compile it with.
const FINGERPRINT: &str = "1fa32656-1169-5760-a8fb-c52cf9857287";

#[test]
fn the_request_was_made_from_this_schema() {
    let text = fs::read("schema/users.capnp").unwrap();
    let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_URL, &text).to_string();
    assert_eq!(
        fingerprint, FINGERPRINT,
        "schema/users.capnp changed: run `{REGENERATE}`, and set FINGERPRINT in tests/compiler_request.rs to {fingerprint}"
    );
}

#[test]
fn the_tool_and_the_request_generate_the_same_code() {
    let tool = std::env::var("CAPNP")
        .ok()
        .filter(|tool| !tool.is_empty())
        .unwrap_or("capnp".into());
    let Ok(compiled) = Command::new(tool)
        .args([
            "compile",
            "-o-",
            "--src-prefix=schema",
            "schema/users.capnp",
        ])
        .output()
    else {
        eprintln!("SKIPPED: there is no `capnp` tool on this machine to compare with");
        return;
    };
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
