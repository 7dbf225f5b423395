//! The dashboard and the alerts of `deploy/monitoring`, in a real Prometheus that scrapes the real services.

mod dashboard;
mod expressions;
mod prometheus;
mod rules;

use std::thread;
use std::time::{Duration, Instant};

use super::whole::WholeSystem;
use expressions::Expression;
use prometheus::Prometheus;

/// What is wrong with what an expression finds; `None` when its series have values, and the labels they are shown by.
fn fault(prometheus: &Prometheus, expression: &Expression) -> Option<String> {
    let Expression { of, text, labels } = expression;
    let series = match prometheus.query(text) {
        Ok(series) => series,
        Err(error) => return Some(format!("{of}: {error}\n{text}")),
    };
    if !series.iter().any(|series| series["value"][1] != "NaN") {
        return Some(format!("{of} finds nothing:\n{text}"));
    }
    let lacks = |label: &&String| {
        series
            .iter()
            .any(|series| series["metric"][label].is_null())
    };
    let lacking = labels.iter().find(lacks)?;
    Some(format!("{of}: series have no {lacking}:\n{text}"))
}

#[test]
#[cfg_attr(
    not(has_prometheus),
    ignore = "needs prometheus; on Debian: apt-get install prometheus"
)]
fn every_expression_of_dashboard_and_alerts_finds_what_the_services_export() {
    let mut whole = WholeSystem::start();
    let prometheus = Prometheus::start(&[
        ("gateway", &whole.gateway_admin),
        ("users-svc", &whole.users_admin),
    ]);
    let expressions = [expressions::of_dashboard(), expressions::of_rules()].concat();
    assert!(expressions.len() > 60, "{}", expressions.len());

    whole.fail();
    let end = Instant::now() + Duration::from_secs(60);
    for round in 0.. {
        whole.serve(&round.to_string());
        let faults = expressions.iter().filter_map(|it| fault(&prometheus, it));
        let faults: Vec<_> = faults.collect();
        if faults.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{}", faults.join("\n\n"));
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(prometheus.broken_rules(), [""; 0]);

    let misspelt = Expression {
        of: "a test".into(),
        text: "rpc_client_link_up".into(),
        labels: Vec::new(),
    };
    assert!(fault(&prometheus, &misspelt).is_some());
}
