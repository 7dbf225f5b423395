//! The rules: their own tests pass, each alert has some, and each says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use e2e::root;
use serde_json::Value;

use super::expressions::rules;

fn alerts() -> Vec<Value> {
    let mut rules = rules();
    rules.retain(|rule| rule["alert"].is_string());
    rules
}

#[test]
#[cfg_attr(
    not(has_prometheus),
    ignore = "needs promtool; on Debian: apt-get install prometheus"
)]
fn rules_pass_their_tests_and_configuration_is_valid() {
    for arguments in [
        ["test", "rules", "rules.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        let promtool = promtool.args(arguments);
        let ran = promtool
            .current_dir(root().join("deploy/monitoring"))
            .output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let text = fs::read_to_string(root().join("deploy/monitoring/rules.test.yml")).unwrap();
    let file: Value = serde_yaml_ng::from_str(&text).unwrap();
    let tests = file["tests"].as_array().unwrap().iter();
    let checks = tests.flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let fires = checks.filter(|check| !check["exp_alerts"].is_null());
    let fires: BTreeSet<_> = fires
        .map(|check| check["alertname"].as_str().unwrap())
        .collect();
    let alerts = alerts();
    let names = alerts.iter().map(|alert| alert["alert"].as_str().unwrap());
    assert_eq!(fires, names.collect());
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() {
    for alert in alerts() {
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{alert}");
        let annotation = |name| alert["annotations"][name].as_str().unwrap();
        assert!(!annotation("summary").is_empty() && !annotation("description").is_empty());
        let (path, anchor) = annotation("runbook_url").split_once('#').unwrap();
        let document = fs::read_to_string(root().join(path)).unwrap();
        assert!(
            anchors(&document).contains(anchor),
            "{path} has no {anchor}"
        );
    }
}
