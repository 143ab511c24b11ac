//! Sends mail as tests say: the user's display name holds the message as JSON, whatever is in it, and the claims tell what
//! came of it. This is how tests try messages that no good plugin sends.

use std::time::Duration;

use claimsmith_plugin::{Callout, Claims, Context as _, Result, deadline, mail};
use serde::Deserialize;

#[claimsmith_plugin::settings]
struct Settings {}

/// A message that a test wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Probe {
    upstream: String,
    to: String,
    subject: String,
    text: String,
    /// Instead of `text`, so many bytes.
    text_bytes: Option<usize>,
    html: Option<String>,
    language: Option<String>,
    timeout_ms: Option<u64>,
    /// How often to send it.
    times: usize,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            upstream: "post".to_owned(),
            to: "ada@example.org".to_owned(),
            subject: "Your code".to_owned(),
            text: "It is 40718263.".to_owned(),
            text_bytes: None,
            html: None,
            language: None,
            timeout_ms: None,
            times: 1,
        }
    }
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, _: &Settings) -> Result<Claims> {
    let probe = callout.user()?.display_name.as_deref().context("display name")?;
    let probe: Probe = serde_json::from_str(probe).context("the message")?;
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for _ in 0..probe.times {
        match message(&probe).send() {
            Ok(()) => results.push("ok".to_owned()),
            Err(error) => {
                results.push(code(&error).to_owned());
                errors.push(error.to_string());
            }
        }
    }
    let left = deadline::remaining().as_millis().to_string();
    Ok(Claims::new()
        .with("results", results)
        .with("errors", errors)
        .with("left_ms", left))
}

fn message(probe: &Probe) -> mail::MessageBuilder {
    let text = probe
        .text_bytes
        .map_or_else(|| probe.text.clone(), |bytes| "x".repeat(bytes));
    let message = mail::upstream(probe.upstream.as_str()).message(probe.to.as_str());
    let mut message = message.subject(probe.subject.as_str()).text(text);
    if let Some(html) = &probe.html {
        message = message.html(html.as_str());
    }
    if let Some(language) = &probe.language {
        message = message.language(language.as_str());
    }
    if let Some(timeout) = probe.timeout_ms {
        message = message.timeout(Duration::from_millis(timeout));
    }
    message
}

const fn code(error: &mail::Error) -> &'static str {
    match error {
        mail::Error::NotGranted(_) => "not-granted",
        mail::Error::NotAllowed(_) => "not-allowed",
        mail::Error::Invalid(_) => "invalid",
        mail::Error::TooLarge(_) => "too-large",
        mail::Error::Refused(_) => "refused",
        mail::Error::Unavailable(_) => "unavailable",
        mail::Error::QuotaExceeded => "quota-exceeded",
        mail::Error::DeadlineExceeded => "deadline-exceeded",
        _ => "other",
    }
}
