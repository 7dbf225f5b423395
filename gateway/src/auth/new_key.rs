//! The `keys` subcommand: makes an API key, and the line that has it accepted.

use std::io::{self, Write};
use std::process::ExitCode;

use super::key_list::KeyDigest;
use super::principal::{PrincipalName, Scopes};

/// What API keys begin with, so that people and secret scanners recognise them: a key is `usk_` (users service
/// key) and 64 hexadecimal digits.
const PREFIX: &str = "usk_";

/// Makes a key, and prints its line for `API_KEYS_FILE` on standard output and the key itself on standard error:
/// `gateway keys NAME SCOPES >> FILE` shows the key to a person, and writes nothing secret to the file.
pub fn make_key(name: &PrincipalName, scopes: &Scopes) -> anyhow::Result<ExitCode> {
    let key = random_key()?;
    let digest = KeyDigest::of(key.as_bytes());
    // A key that is shown is one whose line was written.
    let mut line = io::stdout();
    writeln!(line, "{} {scopes} {digest}", name.as_str())?;
    line.flush()?;
    writeln!(
        io::stderr(),
        "The API key of {}, shown only now (standard output has its line for API_KEYS_FILE):\n{key}",
        name.as_str()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A key with 256 bits of the operating system's generator.
fn random_key() -> Result<String, getrandom::Error> {
    let bits = getrandom::u64;
    let (a, b, c, d) = (bits()?, bits()?, bits()?, bits()?);
    Ok(format!("{PREFIX}{a:016x}{b:016x}{c:016x}{d:016x}"))
}
