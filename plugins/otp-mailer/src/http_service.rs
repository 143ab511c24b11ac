//! Mail services that are asked by HTTP.

use std::collections::BTreeMap;

use claimsmith_plugin::{Error, Result, http};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::template::{self, Letter};

/// What can be put into the body.
const NAMES: &[&str] = &["to", "subject", "text", "html", "language"];

/// A mail service, by the name of its upstream, and what it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpService {
    upstream: http::Upstream,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, whose texts are templates.
    body: Value,
}

impl HttpService {
    /// Sends a message.
    pub(crate) fn send(&self, to: &str, letter: &Letter) -> Result<()> {
        let html = letter.html.clone().unwrap_or_else(|| {
            let escaped = html_escape::encode_text(&letter.text);
            escaped.replace('\n', "<br>\n")
        });
        let values = [
            ("to", Zeroizing::new(to.to_owned())),
            ("subject", Zeroizing::new(letter.subject.clone())),
            ("text", Zeroizing::new(letter.text.clone())),
            ("html", Zeroizing::new(html)),
            ("language", Zeroizing::new(letter.language.clone())),
        ];
        let body = fill(&self.body, &values)?;
        let request = self.upstream.post(self.path.as_str());
        let request = self.headers.iter().fold(request, |request, (name, value)| {
            request.header(name.as_str(), value.as_str())
        });
        match request.json_body(&body).send()?.error_for_status() {
            Ok(_) => Ok(()),
            // The only thing in it that another message has otherwise is whom it is for.
            Err(error) if matches!(error.status(), Some(400 | 422)) => {
                Err(Error::rejected(format!("the message is not taken: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is wrong, and with which member.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err("http.path: expected a path below the upstream's URL, such as /v3/mail/send".to_owned());
        }
        let mut templates = Vec::new();
        collect(&self.body, &mut templates);
        for template in &templates {
            template::check(template, NAMES).map_err(|why| format!("http.body: {why}"))?;
        }
        let has = |name| templates.iter().any(|template| template::has(template, name));
        if !has("to") || !(has("text") || has("html")) {
            return Err("http.body: expected `{to}`, and `{text}` or `{html}`, in it".to_owned());
        }
        Ok(())
    }
}

/// A copy of JSON with values put into its texts.
fn fill(value: &Value, values: &[(&str, Zeroizing<String>)]) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(template::render(text, values)?),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect::<Result<_>>()?,
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill(value, values)?)));
            Value::Object(members.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        _ => {}
    }
}
