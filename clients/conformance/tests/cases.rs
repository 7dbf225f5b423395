//! The table of cases agrees with the promise, and the page for strangers with the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use users_conformance::Repeats::{self, OnceIfDisconnected, Twice};
use users_conformance::Step::{self, DiesAfterReading, DiesBeforeReading, SendsGarbage};
use users_conformance::{Answer, CASES_OF_EACH, GROUPS, Outcome, Trial, cases, name_of};

/// As many as the longest script has steps.
const MOST_ATTEMPTS: usize = 3;

/// What the first `count` attempts of a create of one user are told.
fn answers(script: &[Step], count: usize) -> Vec<Option<Answer>> {
    let steps = script.iter().filter(|step| **step != Step::GoesAway);
    let answer = |step: &Step| step.answers().map(|answers| answers[0]);
    steps.take(count).map(answer).collect()
}

/// How many attempts a client that repeats in this way makes, as far as the script goes.
fn attempts(script: &[Step], repeats: Repeats) -> usize {
    let is_repeated = |step: &&Step| match repeats {
        Twice => ![Step::Hangs, Step::OverloadedInTheEnd].contains(step),
        OnceIfDisconnected => [DiesAfterReading, DiesBeforeReading, SendsGarbage].contains(step),
    };
    let most = match repeats {
        Twice => 3,
        OnceIfDisconnected => 2,
    };
    let repeated = script.iter().take_while(is_repeated).count();
    most.min(repeated + 1)
}

#[test]
fn every_case_has_the_outcome_that_its_answers_allow() {
    for repeats in [Twice, OnceIfDisconnected] {
        for case in cases() {
            let allowed = Outcome::after(answers(case.script, attempts(case.script, repeats)));
            assert_eq!(case.outcome(repeats), allowed, "{}", name_of(case.script));
        }
    }
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let names: Vec<String> = Trial::all().iter().map(Trial::name).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn page_lists_every_case_with_its_outcome_and_the_reason() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let expected = format!("{}\n{}\n{}", table(), reasons(), table_of_each());
    assert!(page.contains(&expected), "README.md lacks:\n\n{expected}");
}

/// Each case, with its outcome after so many attempts, and the number of its reason.
fn table() -> String {
    let mut table = "| case | after 1 attempt | after 2 | after 3 | why |\n".to_owned();
    table += "| --- | --- | --- | --- | --- |\n";
    for (number, group) in (1..).zip(GROUPS) {
        for case in group.cases {
            let most = answers(case.script, MOST_ATTEMPTS).len().max(1);
            let outcomes = (1..=MOST_ATTEMPTS).map(|count| {
                let outcome = Outcome::after(answers(case.script, count));
                (count <= most).then(|| format!(" {outcome}"))
            });
            let outcomes: Vec<String> = outcomes.map(Option::unwrap_or_default).collect();
            let name = name_of(case.script);
            let outcomes = outcomes.join(" |");
            let _ = writeln!(table, "| `{name}` |{outcomes} | {number} |");
        }
    }
    table
}

fn reasons() -> String {
    let reasons = (1..).zip(GROUPS);
    let lines = reasons.map(|(number, group)| format!("{number}. {}\n", group.why));
    lines.collect::<Vec<_>>().concat()
}

fn table_of_each() -> String {
    let mut table = "| case | outcomes of nine users |\n| --- | --- |\n".to_owned();
    for case in &CASES_OF_EACH {
        let outcomes = case.outcomes.map(Outcome::word).join(" ");
        let _ = writeln!(table, "| `many-{}` | {outcomes} |", name_of(case.script));
    }
    table
}
