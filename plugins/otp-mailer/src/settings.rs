//! The settings, and what can be wrong with them.

use std::ops::Deref;

use claimsmith_plugin::mail;
use claimsmith_plugin::settings::are_being_checked;
use serde::Deserialize;

use crate::http_service::HttpService;
use crate::template::{self, NAMES, Templates, Texts};

/// A document that has one way to send, and templates that can be filled in.
#[derive(Debug)]
#[claimsmith_plugin::settings]
#[serde(try_from = "Document")]
pub(crate) struct Settings {
    checked: Checked,
}

impl Deref for Settings {
    type Target = Checked;

    fn deref(&self) -> &Checked {
        &self.checked
    }
}

/// What the operator configures.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) brand: String,
    pub(crate) way: Way,
    pub(crate) default_language: String,
    pub(crate) templates: Templates,
}

/// How a code is sent.
#[derive(Debug)]
pub(crate) enum Way {
    /// By a mail server.
    Mail { upstream: mail::Upstream },
    /// By a mail service's HTTP interface.
    Http(HttpService),
}

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    brand: String,
    mail: Option<MailDocument>,
    http: Option<HttpService>,
    #[serde(default = "default_language")]
    default_language: String,
    #[serde(default)]
    templates: Templates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MailDocument {
    upstream: mail::Upstream,
}

fn default_language() -> String {
    "en".to_owned()
}

impl TryFrom<Document> for Settings {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let way = match (document.mail, document.http) {
            (Some(MailDocument { upstream }), None) => Way::Mail { upstream },
            (None, Some(service)) => Way::Http(service),
            (Some(_), Some(_)) => return Err("both `mail` and `http`; expected one of them".to_owned()),
            (None, None) => {
                return Err("neither `mail` nor `http`: expected `mail = { upstream = \"…\" }` or `http`".to_owned());
            }
        };
        let checked = Checked {
            brand: document.brand,
            way,
            default_language: document.default_language,
            templates: document.templates,
        };
        // Not again for every code.
        if are_being_checked() {
            checked.check()?;
        }
        Ok(Self { checked })
    }
}

impl Checked {
    fn check(&self) -> Result<(), String> {
        if self.brand.trim().is_empty() || self.brand.contains(char::is_control) {
            return Err("brand: expected the name that users know you by, on one line".to_owned());
        }
        for (language, texts) in &self.templates {
            check_texts(texts).map_err(|why| format!("templates.{language}.{why}"))?;
            if !is_language(language) {
                return Err(format!(
                    "templates.{language}: expected a language such as `de` or `pt-BR` (RFC 5646)"
                ));
            }
        }
        let built_in = template::built_in().map_err(|error| error.to_string())?;
        let default = self.default_language.as_str();
        if !self.templates.contains_key(default) && !built_in.contains_key(default) {
            let known: Vec<_> = built_in
                .keys()
                .chain(self.templates.keys())
                .map(String::as_str)
                .collect();
            return Err(format!(
                "default_language: there are no templates for `{default}`; there are some for: {}",
                known.join(", ")
            ));
        }
        match &self.way {
            Way::Mail { .. } => Ok(()),
            Way::Http(service) => service.check(),
        }
    }
}

fn check_texts(texts: &Texts) -> Result<(), String> {
    let members = [
        ("subject", Some(&texts.subject)),
        ("text", Some(&texts.text)),
        ("html", texts.html.as_ref()),
    ];
    for (member, template) in members {
        let Some(template) = template else { continue };
        template::check(template, NAMES).map_err(|why| format!("{member}: {why}"))?;
        if member != "subject" && !template::has(template, "code") {
            return Err(format!("{member}: expected `{{code}}` in it"));
        }
    }
    if texts.subject.trim().is_empty() || texts.subject.contains(char::is_control) {
        return Err("subject: expected one line".to_owned());
    }
    Ok(())
}

fn is_language(tag: &str) -> bool {
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= 35 && tag.split('-').all(is_subtag)
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;
    use serde_json::Value;

    use super::*;

    fn problem(json: &str) -> String {
        let problems = check::<Settings>(json);
        assert_eq!(problems.len(), 1, "{json}");
        problems[0].message.clone()
    }

    #[test]
    fn there_is_one_way_to_send() {
        let mail = r#""mail": { "upstream": "post" }"#;
        let http = r#""http": { "upstream": "api", "path": "/send", "body": ["{to}", "{text}"] }"#;
        assert!(check::<Settings>(&format!(r#"{{ "brand": "C", {mail} }}"#)).is_empty());
        assert!(check::<Settings>(&format!(r#"{{ "brand": "C", {http} }}"#)).is_empty());
        assert!(problem(r#"{ "brand": "C" }"#).contains("neither `mail` nor `http`"));
        assert!(problem(&format!(r#"{{ "brand": "C", {mail}, {http} }}"#)).contains("both `mail` and `http`"));
    }

    #[test]
    fn templates_that_cannot_be_filled_in_are_refused() {
        for (template, expected) in [
            (
                r#""de": { "subject": "x", "text": "{cdoe}" }"#,
                "templates.de.text: there is no `{cdoe}`; expected one of: code, brand, application, email",
            ),
            (
                r#""de": { "subject": "x", "text": "no code" }"#,
                "templates.de.text: expected `{code}` in it",
            ),
            (
                r#""de": { "subject": "x", "text": "{code}", "html": "<p>" }"#,
                "templates.de.html: expected `{code}` in it",
            ),
            (
                r#""de": { "subject": "x\ny", "text": "{code}" }"#,
                "templates.de.subject: expected one line",
            ),
            (r#""de": { "subject": "x", "text": "{code" }"#, "templates.de.text: "),
            (
                r#""de_DE": { "subject": "x", "text": "{code}" }"#,
                "expected a language",
            ),
        ] {
            let json = format!(r#"{{ "brand": "C", "mail": {{ "upstream": "p" }}, "templates": {{ {template} }} }}"#);
            let found = problem(&json);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn the_default_language_has_templates() {
        let found = problem(r#"{ "brand": "C", "mail": { "upstream": "p" }, "default_language": "fi" }"#);
        assert!(
            found.contains("no templates for `fi`") && found.contains("de, en, es"),
            "{found}"
        );
    }

    #[test]
    fn a_body_that_says_nothing_is_refused() {
        for (body, expected) in [
            (r#"{ "to": "{to}" }"#, "expected `{to}`, and `{text}` or `{html}`"),
            (r#"{ "to": "{to}", "text": ["{txt}"] }"#, "there is no `{txt}`"),
        ] {
            let http = format!(r#"{{ "upstream": "api", "path": "/send", "body": {body} }}"#);
            let found = problem(&format!(r#"{{ "brand": "C", "http": {http} }}"#));
            assert!(found.contains(expected), "{expected}: {found}");
        }
        let http = r#"{ "upstream": "api", "path": "send", "body": ["{to}", "{text}"] }"#;
        assert!(problem(&format!(r#"{{ "brand": "C", "http": {http} }}"#)).contains("http.path"));
    }

    #[test]
    fn the_readmes_examples_and_the_schema_agree_with_what_is_read() {
        let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let readme = include_str!("../README.md");
        let blocks: Vec<_> = readme
            .split("```")
            .filter_map(|block| block.strip_prefix("toml\n"))
            .collect();
        assert_eq!(blocks.len(), 2);
        for block in blocks {
            let tenant: toml::Table = block.parse().unwrap();
            let settings = &tenant["extensions"]["codes"]["bindings"][0]["settings"];
            let settings = serde_json::to_value(settings).unwrap();
            assert!(validator.is_valid(&settings), "{settings}");
            assert_eq!(check::<Settings>(&settings.to_string()), [], "{settings}");
        }
        for wrong in [
            r#"{ "brand": "C" }"#,
            r#"{ "brand": "", "mail": { "upstream": "p" } }"#,
            r#"{ "brand": "C", "mail": { "upstream": "p" }, "more": 1 }"#,
            r#"{ "brand": "C", "mail": { "upstream": "p" }, "templates": { "de_DE": { "subject": "x", "text": "{code}" } } }"#,
            r#"{ "brand": "C", "mail": { "upstream": "p" }, "templates": { "de": { "subject": "x", "text": "none" } } }"#,
            r#"{ "brand": "C", "http": { "upstream": "p", "path": "send", "body": ["{to}", "{text}"] } }"#,
        ] {
            let settings: Value = serde_json::from_str(wrong).unwrap();
            assert!(!validator.is_valid(&settings), "{wrong}");
            assert_ne!(check::<Settings>(wrong), [], "{wrong}");
        }
    }
}
