//! Compiles `schema/users.capnp` to Rust.
//!
//! The `capnp` tool does it where there is one (`CAPNP` names another). Elsewhere the compiler request
//! that is checked in beside the schema takes its place, so that a machine that has never heard of
//! Cap'n Proto builds the project too. `CAPNP=` (empty) always takes the request.

use std::{env, error::Error, fs::File, io::BufReader, path::PathBuf, process::Command};

const SCHEMA: &str = "schema/users.capnp";
const REQUEST: &str = "schema/users.capnp.req";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SCHEMA}");
    println!("cargo:rerun-if-changed={REQUEST}");
    println!("cargo:rerun-if-env-changed=CAPNP");
    println!("cargo:rustc-check-cfg=cfg(has_capnp_tool)");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let named = env::var_os("CAPNP");
    let tool = named.clone().unwrap_or_else(|| "capnp".into());
    let installed = || {
        Command::new(&tool)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    // A tool that was asked for and does not run is an error, not a reason to use the request.
    if !tool.is_empty() && (named.is_some() || installed()) {
        // For the test that compares what the tool and the request generate.
        println!("cargo:rustc-cfg=has_capnp_tool");
        capnpc::CompilerCommand::new()
            .capnp_executable(&tool)
            .src_prefix("schema")
            .file(SCHEMA)
            .output_path(&out)
            .run()?;
    } else {
        capnpc::codegen::CodeGenerationCommand::new()
            .output_directory(&out)
            .run(BufReader::new(File::open(REQUEST)?))?;
    }
    Ok(())
}
