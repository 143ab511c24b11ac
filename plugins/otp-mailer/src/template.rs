//! Texts, and what is put into them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use claimsmith_plugin::{Callout, Context as _, OneTimeCode, Result, language};
use leon::Template;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::settings::Settings;

/// What can be put into a template.
pub(crate) const NAMES: &[&str] = &["code", "brand", "application", "email"];

/// The languages that ship with the plugin.
const BUILT_IN: &str = include_str!("../templates/built-in.json");

/// The texts of one language.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Texts {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: Option<String>,
}

/// By language.
pub(crate) type Templates = BTreeMap<String, Texts>;

/// The templates that ship with the plugin.
pub(crate) fn built_in() -> Result<Templates> {
    serde_json::from_str(BUILT_IN).context("the built-in templates")
}

/// What is sent.
pub(crate) struct Letter {
    pub(crate) language: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: Option<String>,
}

impl Letter {
    /// Writes a code in the user's language.
    pub(crate) fn write(callout: &Callout, code: &OneTimeCode, settings: &Settings) -> Result<Self> {
        let (language, texts) = choose(callout, settings)?;
        let principal = callout.client_service_principal.as_ref();
        let application = principal.and_then(|principal| {
            let names = [&principal.display_name, &principal.app_display_name];
            names.into_iter().flatten().find(|name| !name.is_empty())
        });
        let values = [
            ("code", code.code()),
            ("brand", settings.brand.as_str()),
            (
                "application",
                application.map_or(settings.brand.as_str(), String::as_str),
            ),
            ("email", code.identifier()),
        ];
        let plain = values.map(|(name, value)| (name, Zeroizing::new(value.to_owned())));
        let on_one_line = values.map(|(name, value)| (name, Zeroizing::new(one_line(value))));
        let escaped = values.map(|(name, value)| (name, Zeroizing::new(html_escape::encode_safe(value).into_owned())));
        let html = texts.html.as_deref().map(|html| render(html, &escaped));
        Ok(Self {
            subject: render(&texts.subject, &on_one_line)?,
            text: render(&texts.text, &plain)?,
            html: html.transpose()?,
            language,
        })
    }
}

/// The language of a message, and its texts.
fn choose<'s>(callout: &Callout, settings: &'s Settings) -> Result<(String, Cow<'s, Texts>)> {
    let mut built_in = built_in()?;
    let own = &settings.templates;
    let languages: Vec<_> = own.keys().chain(built_in.keys()).map(String::as_str).collect();
    let wanted = callout.languages().chain([settings.default_language.as_str()]);
    let found = language::lookup(wanted, languages)
        .context("no language fits")?
        .to_owned();
    let texts = match own.get(&found) {
        Some(texts) => Cow::Borrowed(texts),
        None => Cow::Owned(built_in.remove(&found).context("no language fits")?),
    };
    Ok((found, texts))
}

/// Puts values into a template.
pub(crate) fn render(template: &str, values: &[(&str, Zeroizing<String>)]) -> Result<String> {
    let template = Template::parse(template).context("template")?;
    template.render(&values).context("template")
}

/// What is wrong with a template, into which these names can be put.
pub(crate) fn check(template: &str, names: &[&str]) -> Result<(), String> {
    let parsed = Template::parse(template)
        .map_err(|error| format!("{error}; expected `{{name}}`, and `\\{{` and `\\}}` for braces"))?;
    match parsed.keys().find(|key| !names.contains(*key)) {
        Some(unknown) => Err(format!(
            "there is no `{{{unknown}}}`; expected one of: {}",
            names.join(", ")
        )),
        None => Ok(()),
    }
}

/// Whether a name is put into a template.
pub(crate) fn has(template: &str, name: &str) -> bool {
    Template::parse(template).is_ok_and(|template| template.has_key(name))
}

/// Without line ends and other control characters.
fn one_line(text: &str) -> String {
    let is_end = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(is_end, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_templates_are_whole() {
        for (language, texts) in built_in().unwrap() {
            let html = texts.html.unwrap();
            for text in [&texts.subject, &texts.text, &html] {
                assert_eq!(check(text, NAMES), Ok(()), "{language}");
            }
            assert!(has(&texts.text, "code") && has(&html, "code"), "{language}");
            assert!(html.contains(&format!("<html lang=\"{language}\">")), "{language}");
        }
    }

    #[test]
    fn what_is_put_in_is_no_template() {
        let values = [("brand", Zeroizing::new("{code}".to_owned()))];
        assert_eq!(render("<{brand}>", &values).unwrap(), "<{code}>");
    }
}
