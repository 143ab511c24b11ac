//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::extract::{Extract, Pattern};
use crate::rule::{Case, Lookup, Otherwise, Rule, Source};

/// What the operator configures: the rules, in their order.
#[derive(Debug)]
#[claimsmith_plugin::settings]
pub struct Settings {
    pub(crate) rules: Vec<Rule>,
}

/// A rule as the operator writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(deserialize_with = "not_empty")]
    claim: String,
    #[serde(default, deserialize_with = "path")]
    from: Option<String>,
    value: Option<String>,
    pattern: Option<Pattern>,
    replace: Option<String>,
    case: Option<Case>,
    #[serde(default, deserialize_with = "some_not_empty")]
    split: Option<String>,
    lookup: Option<BTreeMap<String, String>>,
    lookup_else: Option<Otherwise>,
    #[serde(default, deserialize_with = "some_not_empty")]
    default: Option<String>,
}

impl TryFrom<Document> for Rule {
    type Error = String;

    fn try_from(rule: Document) -> Result<Self, String> {
        let source = match (rule.from, rule.value) {
            (Some(path), None) => Source::Path(path),
            (None, Some(text)) => Source::Constant(text),
            (Some(_), Some(_)) => return Err("both `from` and `value`; expected one of them".to_owned()),
            (None, None) => return Err("neither `from` nor `value`; expected one of them".to_owned()),
        };
        let extract = match (rule.pattern, rule.replace) {
            (Some(pattern), replace) => Some(Extract::new(pattern, replace)?),
            (None, Some(_)) => return Err("`replace` without a `pattern`".to_owned()),
            (None, None) => None,
        };
        let lookup = match (rule.lookup, rule.lookup_else) {
            (Some(table), otherwise) => Some(Lookup {
                table,
                otherwise: otherwise.unwrap_or_default(),
            }),
            (None, Some(_)) => return Err("`lookup_else` without a `lookup`".to_owned()),
            (None, None) => None,
        };
        Ok(Self {
            claim: rule.claim,
            source,
            extract,
            case: rule.case,
            split: rule.split,
            lookup,
            default: rule.default,
        })
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Document::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::custom("expected text that is not empty"));
    }
    Ok(text)
}

fn some_not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    not_empty(deserializer).map(Some)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let path = String::deserialize(deserializer)?;
    if path.split('.').any(str::is_empty) {
        return Err(D::Error::custom("expected a dotted path such as `user.mail`"));
    }
    // As Entra's documentation writes paths; it would never have a value.
    let inside = path.strip_prefix("data.").unwrap_or(&path);
    let inside = inside.strip_prefix("authenticationContext.").unwrap_or(inside);
    if inside.len() < path.len() {
        return Err(D::Error::custom(format_args!("`{path}`: expected `{inside}`")));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;

    use super::*;

    #[track_caller]
    fn assert_problem(rule: &str, path: &str, message: &str) {
        let json = format!(r#"{{ "rules": [{{ "claim": "a", "value": "x" }}, {{ {rule} }}] }}"#);
        let problems: Vec<_> = check::<Settings>(&json)
            .into_iter()
            .map(|problem| (problem.path, problem.message))
            .collect();
        assert_eq!(problems, [(path.to_owned(), message.to_owned())]);
    }

    #[test]
    fn a_rule_has_a_claim_and_one_source() {
        assert_problem(r#""value": "x""#, "rules[1]", "missing field `claim`");
        assert_problem(
            r#""claim": "", "value": "x""#,
            "rules[1].claim",
            "expected text that is not empty",
        );
        assert_problem(
            r#""claim": "b""#,
            "rules[1]",
            "neither `from` nor `value`; expected one of them",
        );
        assert_problem(
            r#""claim": "b", "from": "user.mail", "value": "x""#,
            "rules[1]",
            "both `from` and `value`; expected one of them",
        );
    }

    #[test]
    fn a_path_is_written_as_the_callout_names_it() {
        assert_problem(
            r#""claim": "b", "from": "user..mail""#,
            "rules[1].from",
            "expected a dotted path such as `user.mail`",
        );
        assert_problem(
            r#""claim": "b", "from": "data.authenticationContext.user.mail""#,
            "rules[1].from",
            "`data.authenticationContext.user.mail`: expected `user.mail`",
        );
    }

    #[test]
    fn a_wrong_pattern_is_refused_where_it_is() {
        assert_problem(
            r#""claim": "b", "from": "user.mail", "pattern": "(""#,
            "rules[1].pattern",
            "found open group without closing ')'",
        );
    }

    #[test]
    fn a_replacement_names_groups_of_its_pattern() {
        assert_problem(
            r#""claim": "b", "from": "user.mail", "pattern": "^(.)", "replace": "$1st""#,
            "rules[1]",
            "replace: the pattern has no group `1st`; a name ends where its letters, digits and `_` end: \
             expected `${1}x` for group 1 and an `x`, `$$` for a dollar sign",
        );
    }

    #[test]
    fn what_belongs_to_a_step_needs_the_step() {
        let rule = |member| format!(r#""claim": "b", "from": "user.mail", {member}"#);
        assert_problem(&rule(r#""replace": "x""#), "rules[1]", "`replace` without a `pattern`");
        assert_problem(
            &rule(r#""lookup_else": "keep""#),
            "rules[1]",
            "`lookup_else` without a `lookup`",
        );
    }

    #[test]
    fn what_is_unknown_is_named_with_what_is_known() {
        assert_problem(
            r#""claim": "b", "value": "x", "case": "title""#,
            "rules[1].case",
            "unknown variant `title`, expected `lower` or `upper`",
        );
        assert_problem(
            r#""claim": "b", "value": "x", "regex": "a""#,
            "rules[1].regex",
            "unknown field `regex`, expected one of `claim`, `from`, `value`, `pattern`, `replace`, `case`, `split`, \
             `lookup`, `lookup_else`, `default`",
        );
    }

    #[test]
    fn the_readmes_example_is_accepted() {
        let readme = include_str!("../README.md");
        let example = readme.split("```").find_map(|block| block.strip_prefix("toml\n"));
        let tenant: toml::Table = example.unwrap().parse().unwrap();
        let settings = &tenant["extensions"]["profile"]["bindings"][0]["settings"];
        let problems = check::<Settings>(&serde_json::to_string(settings).unwrap());
        assert_eq!(problems, []);
    }
}
