//! The expressions of the dashboard and of the rules, in a form that finds series on a healthy system too.

use std::fs;

use e2e::root;
use serde_json::Value;

/// An expression.
#[derive(Clone)]
pub struct Expression {
    /// Where it stands.
    pub of: String,
    pub text: String,
    /// The labels that its series are shown by.
    pub labels: Vec<String>,
}

/// The dashboard.
pub fn dashboard() -> Value {
    let path = root().join("deploy/monitoring/grafana/dashboard.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// All rules, those that record and those that alert.
pub fn rules() -> Vec<Value> {
    let text = fs::read_to_string(root().join("deploy/monitoring/rules.yml")).unwrap();
    let file: Value = serde_yaml_ng::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// The expressions of the panels, of the annotations and of the variables.
pub fn of_dashboard() -> Vec<Expression> {
    let dashboard = dashboard();
    let list = |path| dashboard.pointer(path).and_then(Value::as_array).unwrap();
    let mut expressions = Vec::new();
    for panel in list("/panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            expressions.push(Expression {
                of: format!("panel {}", panel["title"]),
                text: without_variables(target["expr"].as_str().unwrap()),
                labels: labels(target["legendFormat"].as_str().unwrap(), "{{"),
            });
        }
    }
    for annotation in list("/annotations/list") {
        if let Some(text) = annotation["expr"].as_str() {
            expressions.push(Expression {
                of: format!("annotation {}", annotation["name"]),
                text: unfiltered(text),
                labels: labels(annotation["titleFormat"].as_str().unwrap(), "{{"),
            });
        }
    }
    for variable in list("/templating/list") {
        let definition = variable["definition"].as_str().unwrap_or_default();
        if let Some(arguments) = definition.strip_prefix("label_values(") {
            let (text, label) = arguments.rsplit_once(", ").unwrap();
            expressions.push(Expression {
                of: format!("variable {}", variable["name"]),
                text: text.to_owned(),
                labels: vec![label.trim_end_matches(')').to_owned()],
            });
        }
    }
    expressions
}

/// The expressions of the rules.
pub fn of_rules() -> Vec<Expression> {
    let rules = rules().into_iter();
    rules
        .map(|rule| Expression {
            of: format!("rule {}{}", rule["record"], rule["alert"]),
            text: unfiltered(rule["expr"].as_str().unwrap()),
            labels: labels(&rule["annotations"].to_string(), "{{ $labels."),
        })
        .collect()
}

/// The same expression, with what Grafana would put for its variables.
fn without_variables(text: &str) -> String {
    let variables = [
        ("$__rate_interval", "5m"),
        ("$gateway|$users_svc", ".*"),
        ("$gateway", ".*"),
        ("$users_svc", ".*"),
    ];
    let insert = |text: String, (variable, value)| text.replace(variable, value);
    let text = variables.into_iter().fold(text.to_owned(), insert);
    assert!(!text.contains('$'), "{text}");
    text
}

/// The same expression, which finds what it looks at also when nothing is wrong with it: comparisons tell their
/// result instead of dropping series.
fn unfiltered(text: &str) -> String {
    let comparisons = [" == ", " > ", " < "];
    let compare = |text: String, operator| text.replace(operator, &format!("{operator}bool "));
    let text = comparisons.into_iter().fold(text.to_owned(), compare);
    text.replace("absent(", "(")
}

/// The labels that a template refers to, each after `opening`.
fn labels(template: &str, opening: &str) -> Vec<String> {
    let references = template.split(opening).skip(1);
    let names = references.map(|rest| rest.split([' ', '}']).next().unwrap());
    names.map(ToOwned::to_owned).collect()
}
