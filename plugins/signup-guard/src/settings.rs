//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;
use std::ops::Deref;

use claimsmith_plugin::settings::are_being_checked;
use serde::Deserialize;

use crate::attribute::{Rule, Value};
use crate::domains::{self, Domains, lower_case};
use crate::text::Text;

/// Attributes and what they are filled in with.
type Values = BTreeMap<String, Value>;

/// A document whose texts and rules can be used.
#[derive(Debug)]
#[claimsmith_plugin::settings]
#[serde(try_from = "Document")]
pub(crate) struct Settings {
    document: Document,
}

impl Deref for Settings {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.document
    }
}

/// What the operator writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(default)]
    pub(crate) blocked_domains: Domains,
    pub(crate) allowed_domains: Option<Domains>,
    pub(crate) block_title: Option<Text>,
    #[serde(default = "block_message")]
    pub(crate) block_message: Text,
    #[serde(default)]
    pub(crate) prefill: Values,
    #[serde(default)]
    pub(crate) prefill_by_domain: BTreeMap<String, Values>,
    #[serde(default)]
    pub(crate) attributes: Vec<Rule>,
    #[serde(default = "correct_message")]
    pub(crate) correct_message: Text,
    #[serde(default = "default_language")]
    pub(crate) default_language: String,
}

fn block_message() -> Text {
    Text::One("You cannot sign up with this mail address.".to_owned())
}

fn correct_message() -> Text {
    Text::One("Please correct the marked fields.".to_owned())
}

fn default_language() -> String {
    "en".to_owned()
}

impl TryFrom<Document> for Settings {
    type Error = String;

    fn try_from(mut document: Document) -> Result<Self, String> {
        // Not again in every callout.
        if are_being_checked() {
            document.check()?;
        }
        let by_domain = std::mem::take(&mut document.prefill_by_domain).into_iter();
        document.prefill_by_domain = by_domain
            .map(|(domain, values)| (lower_case(&domain), values))
            .collect();
        Ok(Self { document })
    }
}

impl Document {
    fn check(&self) -> Result<(), String> {
        let default = self.default_language.as_str();
        let texts = [
            ("block_title", self.block_title.as_ref()),
            ("block_message", Some(&self.block_message)),
            ("correct_message", Some(&self.correct_message)),
        ];
        for (member, text) in texts {
            let checked = text.map_or(Ok(()), |text| text.check(default));
            checked.map_err(|why| format!("{member}: {why}"))?;
        }
        for (index, rule) in self.attributes.iter().enumerate() {
            rule.check(default)
                .map_err(|why| format!("attributes[{index}].{why}"))?;
            if self.attributes.iter().take(index).any(|other| other.name == rule.name) {
                return Err(format!(
                    "attributes[{index}].name: there is another rule for `{}`",
                    rule.name
                ));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for domain in self.prefill_by_domain.keys() {
            let name = domains::check(domain).map_err(|why| format!("prefill_by_domain.{why}"))?;
            if !seen.insert(name) {
                return Err(format!("prefill_by_domain: `{domain}` is named twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused_where_it_is() {
        for (json, path, expected) in [
            (
                r#"{ "blocked_domains": ["mailinator"] }"#,
                "blocked_domains",
                "`mailinator`: expected a domain",
            ),
            (
                r#"{ "allowed_domains": ["@contoso.com"] }"#,
                "allowed_domains",
                "expected a domain",
            ),
            (
                r#"{ "block_message": { "de": "Nein" } }"#,
                "",
                "block_message: expected a text for `en` too",
            ),
            (
                r#"{ "block_message": 7 }"#,
                "block_message",
                "expected text, or a table",
            ),
            (
                r#"{ "block_title": " " }"#,
                "",
                "block_title: expected text that is not empty",
            ),
            (
                r#"{ "attributes": [{ "name": "a", "pattern": "(", "message": "x" }] }"#,
                "",
                "attributes[0].pattern: ",
            ),
            (
                r#"{ "attributes": [{ "name": "a", "message": "x" }, { "name": "a", "message": "y" }] }"#,
                "",
                "attributes[1].name: there is another rule for `a`",
            ),
            (
                r#"{ "attributes": [{ "name": "a", "min_length": 5, "max_length": 4, "message": "x" }] }"#,
                "",
                "min_length is more than max_length",
            ),
            (
                r#"{ "attributes": [{ "name": "a", "one_of": [], "message": "x" }] }"#,
                "",
                "one_of: expected at least one",
            ),
            (
                r#"{ "attributes": [{ "name": "a" }] }"#,
                "attributes[0]",
                "missing field `message`",
            ),
            (
                r#"{ "prefill": { "a": 1.5 } }"#,
                "prefill.a",
                "expected text, a whole number",
            ),
            (
                r#"{ "prefill_by_domain": { "contoso.com": {}, "Contoso.com": {} } }"#,
                "",
                "is named twice",
            ),
            (r#"{ "blocked_domain": [] }"#, "blocked_domain", "unknown field"),
        ] {
            let problems = check::<Settings>(json);
            assert_eq!(problems.len(), 1, "{json}");
            assert_eq!(problems[0].path, path, "{json}");
            assert!(
                problems[0].message.contains(expected),
                "{expected}: {}",
                problems[0].message
            );
        }
        assert!(check::<Settings>("{}").is_empty());
    }

    #[test]
    fn the_readmes_example_and_the_schema_agree_with_what_is_read() {
        let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let readme = include_str!("../README.md");
        let example = readme.split("```").find_map(|block| block.strip_prefix("toml\n"));
        let tenant: toml::Table = example.unwrap().parse().unwrap();
        for extension in ["page", "check"] {
            let settings = &tenant["extensions"][extension]["bindings"][0]["settings"];
            let settings = serde_json::to_value(settings).unwrap();
            assert!(validator.is_valid(&settings), "{settings}");
            assert_eq!(check::<Settings>(&settings.to_string()), [], "{settings}");
        }
        for wrong in [
            r#"{ "blocked_domains": ["mailinator"] }"#,
            r#"{ "block_message": 7 }"#,
            r#"{ "attributes": [{ "name": "a" }] }"#,
            r#"{ "attributes": [{ "name": "", "message": "x" }] }"#,
            r#"{ "attributes": [{ "name": "a", "one_of": [], "message": "x" }] }"#,
            r#"{ "prefill": { "a": 1.5 } }"#,
            r#"{ "blocked_domain": [] }"#,
        ] {
            let settings: Value = serde_json::from_str(wrong).unwrap();
            assert!(!validator.is_valid(&settings), "{wrong}");
            assert_ne!(check::<Settings>(wrong), [], "{wrong}");
        }
    }
}
