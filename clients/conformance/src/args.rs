//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::thread;

use clap::Parser;
use users_conformance::{Repeats, Trial};

/// Runs a client of the users service against services that die, hang, refuse or send garbage, and checks that what it
/// says of a create is true: above all, that it never says "nothing was written" when something may have been.
///
/// For each case, COMMAND is started with the arguments HOST:PORT and TIMEOUT_MS behind its own. It reads a line
/// `create ID EMAIL NAME` from its standard input, makes that call with the client under test, and prints the
/// outcome: created, replayed, emailTaken, idConflict, invalid, unavailable, unknown or unimplemented.
#[derive(Debug, Parser)]
#[command(
    name = "users-conformance",
    version,
    after_long_help = "Exit status:\n  \
        0    every outcome is right\n  \
        1    some outcome is wrong\n  \
        2    wrong usage, or COMMAND cannot be started"
)]
pub struct Args {
    /// Milliseconds that the client may take for a call, its repetitions included. Some cases take all of it.
    #[arg(long, value_name = "MS", default_value_t = 2000,
          value_parser = clap::value_parser!(u32).range(100..))]
    pub timeout_ms: u32,

    /// Milliseconds that COMMAND may take beyond that, to start and to print a line, before it is ended.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub patience_ms: u32,

    /// Also check how often the client repeats a create by itself. Otherwise it may make as many attempts as it likes,
    /// and what it must say depends on what these attempts met.
    #[arg(long, value_name = "RULE")]
    pub repeats: Option<Repeats>,

    /// Also run every case by `create_many ID EMAIL NAME ID EMAIL NAME …`, which is answered by as many outcomes.
    #[arg(long)]
    pub create_many: bool,

    /// Speak mutual TLS. COMMAND gets the paths of three files behind TIMEOUT_MS: CERT, KEY and CA.
    #[arg(long)]
    pub tls: bool,

    /// Run only this case. Can be given several times.
    #[arg(long = "case", value_name = "NAME", value_parser = case_name)]
    pub cases: Vec<String>,

    /// Print the names of the cases that would run, and what the service does in each.
    #[arg(long)]
    pub list: bool,

    /// How many cases run at a time: few, if your client is slow to start, so that none runs out of time.
    #[arg(long, value_name = "N", default_value_t = processors())]
    pub jobs: NonZeroUsize,

    /// The program that makes the calls of the client under test, with its arguments.
    #[arg(last = true, required_unless_present = "list", value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Args {
    /// The cases to run.
    pub fn trials(&self) -> Vec<Trial> {
        let is_wanted = |trial: &Trial| {
            if self.cases.is_empty() {
                self.create_many || !trial.is_of_many
            } else {
                self.cases.contains(&trial.name())
            }
        };
        Trial::all().into_iter().filter(is_wanted).collect()
    }
}

fn case_name(name: &str) -> Result<String, &'static str> {
    let is_known = Trial::all().iter().any(|trial| trial.name() == name);
    is_known
        .then(|| name.to_owned())
        .ok_or("no case has this name; --create-many --list prints all names")
}

fn processors() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
