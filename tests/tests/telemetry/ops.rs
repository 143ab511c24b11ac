use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::metrics::documented;

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops")
}

/// The expressions of the alert rules: each is one line.
fn rules() -> Vec<String> {
    let text = fs::read_to_string(ops().join("prometheus/alerts.yml")).unwrap();
    let expressions = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    expressions.map(str::to_owned).collect()
}

/// The expressions of the dashboard's panels and variables.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "expr" || name == "query" => found.push(text.clone()),
                other => collect(other, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(ops().join("grafana/claimsmith.json")).unwrap();
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).unwrap(), &mut found);
    found
}

/// Names as `PromQL` writes them.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '$';
    expression
        .split(move |character| !is_of_name(character))
        .filter(|name| !name.is_empty())
}

/// Every label that an expression names: in matchers, and of `by` and of `label_values`. Values are left out.
fn labels(expression: &str) -> BTreeSet<String> {
    let without_values: String = expression.split('"').step_by(2).collect::<Vec<_>>().join("");
    let mut found = BTreeSet::new();
    for (open, close) in [("{", '}'), ("by (", ')'), ("ignoring(", ')')] {
        for part in without_values.split(open).skip(1) {
            found.extend(names(part.split(close).next().unwrap()).map(str::to_owned));
        }
    }
    if let Some(arguments) = without_values.strip_prefix("label_values(") {
        found.extend(names(arguments.rsplit(',').next().unwrap()).map(str::to_owned));
    }
    found.remove("le");
    found
}

#[test]
fn rules_and_dashboard_use_metrics_and_labels_that_there_are() {
    let documented = documented();
    let (rules, dashboard) = (rules(), dashboard());
    assert!(rules.len() > 10 && dashboard.len() > 20);
    for expression in rules.iter().chain(&dashboard) {
        let mut used = BTreeSet::new();
        let mut known = BTreeSet::new();
        for name in names(expression).filter(|name| name.starts_with("claimsmith_")) {
            let bare = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let found = bare.filter(|bare| documented.get(*bare).is_some_and(|(kind, _)| kind == "histogram"));
            let (kind, labels) = &documented
                .get(found.unwrap_or(name))
                .unwrap_or_else(|| panic!("{name}: {expression}"));
            assert_eq!(kind == "histogram", found.is_some(), "{name}: {expression}");
            used.insert(name);
            known.extend(labels.iter().cloned());
        }
        let labels = labels(expression);
        if used.is_empty() {
            // The data source's name.
            assert_eq!(expression, "prometheus");
        }
        let unknown: Vec<_> = labels.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}: {expression}");
    }
}

#[test]
fn every_rule_says_what_to_do() {
    let text = fs::read_to_string(ops().join("prometheus/alerts.yml")).unwrap();
    let count = |what: &str| text.lines().filter(|line| line.trim().starts_with(what)).count();
    let rules = rules().len();
    for member in ["- alert: ", "severity: ", "summary: ", "description: "] {
        assert_eq!(count(member), rules, "{member}");
    }
}

/// By Prometheus's own tool: `apt-get install prometheus`, which CI does.
#[test]
fn prometheus_reads_the_rules_and_they_fire_when_they_should() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let ran = Command::new("promtool")
            .args(arguments)
            .current_dir(ops().join("prometheus"))
            .output();
        let ended = ran.expect("promtool is there (apt-get install prometheus)");
        let told = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {told}");
    }
}
