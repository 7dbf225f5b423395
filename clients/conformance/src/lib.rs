//! What every client of the users service must report when the service fails: a service that follows a
//! script, the table of scripts, and the rule by which a client's word is judged.
//!
//! Knows no client of ours. The program of this package runs the table against a client in any language;
//! `e2e` runs it against ours.

mod answer;
mod attempts;
mod cases;
mod certificates;
mod driver;
mod later_contract;
mod messages;
mod outcome;
mod report;
mod runner;
mod service;
mod step;
mod trial;
mod verdict;

pub use answer::Answer;
pub use attempts::{Attempt, Attempts, NewUser};
pub use cases::{CASES_OF_EACH, Case, CaseOfEach, GROUPS, Group, Repeats, cases};
pub use certificates::MutualTls;
pub use driver::{Driver, DriverError};
pub use outcome::Outcome;
pub use report::Report;
pub use runner::{Options, run_in_order};
pub use service::{EMAIL_DOMAIN, ScriptedService};
pub use step::{Step, name_of, words_of};
pub use trial::Trial;
