//! Completions and the man page, read by the programs that they are for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use e2e::binary;

use super::Ended;

fn print(words: &[&str]) -> String {
    Ended::of(Command::new(binary("users-cli")).args(words)).succeeded()
}

/// What bash offers for the last of `words`.
fn completions(words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$1" completions bash)
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        [[ $(complete -p users-cli) =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" users-cli "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(binary("users-cli"));
    let offered = Ended::of(bash.arg("users-cli").args(words)).succeeded();
    offered.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    assert_eq!(completions(&["im"]), ["import"]);
    assert_eq!(
        completions(&["list", "--page"]),
        ["--page-size", "--page-token"]
    );
    assert_eq!(completions(&["-o", ""]), ["table", "json", "csv"]);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = print(&["completions", shell]);
        assert!(script.contains("page-token"), "{shell}");
    }
}

#[test]
#[cfg_attr(
    not(has_groff),
    ignore = "needs groff; on Debian: apt-get install groff-base"
)]
fn man_page_is_read_without_a_warning_and_has_every_command_option_and_exit_status() {
    let page = print(&["man"]);
    let mut groff = Command::new("groff");
    groff.args(["-man", "-ww", "-Tascii", "-P-cbou"]);
    groff
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut groff = groff.spawn().unwrap();
    groff
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = groff.wait_with_output().unwrap();

    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8_lossy(&output.stdout);
    // As it is read: without the blanks that justify its lines.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "users-cli - Creates, reads, lists and imports users",
        "import <FILE> Create the users of a CSV file",
        "--rejected <FILE>",
        "--page-token <TOKEN>",
        "--users-addr <HOST:PORT> [default: 127.0.0.1:4001]",
        "USERS_TLS_CERT",
        "EXIT STATUS",
        "130 import: interrupted by Ctrl-C",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
}
