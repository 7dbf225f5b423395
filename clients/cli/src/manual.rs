//! The man page and the completions of shells, both made from the command line itself.

use std::io;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Cli;
use crate::status::MEANINGS;

/// The script with which a shell completes the command line.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "users-cli", &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete 4.6 spells the name of a program with a hyphen in two ways, so that bash finds nothing to offer
    // after a command.
    script.replace("users__subcmd__cli", "users__cli")
}

/// The man page, with the options of every command.
pub fn man_page() -> String {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = write_man_page(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

fn write_man_page(page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(Cli::command().disable_help_subcommand(true));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;

    Roff::new().control("SH", ["COMMANDS"]).to_writer(page)?;
    for command in Cli::command().get_subcommands() {
        write_command(page, command)?;
    }
    man.render_options_section(page)?;

    let mut statuses = Roff::new();
    statuses.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in MEANINGS {
        statuses.control("TP", []);
        statuses.text([bold(status.to_string())]);
        statuses.text([roman(meaning)]);
    }
    statuses.to_writer(page)
}

/// A command with what it does and the options of its own.
fn write_command(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let arguments = command.get_positionals().map(Arg::get_id);
    let arguments: Vec<_> = arguments
        .map(|id| format!("<{}>", id.as_str().to_uppercase()))
        .collect();
    let usage = format!("{} {}", command.get_name(), arguments.join(" "));
    let mut roff = Roff::new();
    roff.control("SS", [usage.trim_end()]);
    roff.to_writer(page)?;

    let command = command.clone().disable_help_flag(true);
    let has_arguments = command.get_arguments().next().is_some();
    let man = Man::new(command);
    let (mut about, mut options) = (Vec::new(), Vec::new());
    man.render_description_section(&mut about)?;
    if has_arguments {
        man.render_options_section(&mut options)?;
    }
    // They are no sections here.
    for part in [about, options] {
        let lines = part.split_inclusive(|byte| *byte == b'\n');
        page.extend(lines.filter(|line| !line.starts_with(b".SH")).flatten());
    }
    Ok(())
}
