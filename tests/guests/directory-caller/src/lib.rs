//! Asks a directory.
//!
//! The user's display name holds what is asked as JSON, whatever is in it, and the claims tell what came of it: this is how
//! tests try what no good plugin does.

use std::collections::BTreeMap;
use std::time::Duration;

use claimsmith_plugin::directory::{Entry, Error, Scope};
use claimsmith_plugin::{Callout, Claims, Context as _, Result, deadline, directory};
use serde::Deserialize;

#[claimsmith_plugin::settings]
struct Settings {}

/// What a test wants to ask.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Probe {
    upstream: String,
    base: Option<String>,
    scope: String,
    filter: String,
    arguments: BTreeMap<String, String>,
    attributes: Vec<String>,
    /// Instead of a search: whose password is checked.
    dn: Option<String>,
    password: String,
    timeout_ms: Option<u64>,
    /// How often to ask.
    times: usize,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            upstream: "corp".to_owned(),
            base: None,
            scope: "subtree".to_owned(),
            filter: "(objectClass=*)".to_owned(),
            arguments: BTreeMap::new(),
            attributes: Vec::new(),
            dn: None,
            password: String::new(),
            timeout_ms: None,
            times: 1,
        }
    }
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, _: &Settings) -> Result<Claims> {
    let probe = callout.user()?.display_name.as_deref().context("display name")?;
    let probe: Probe = serde_json::from_str(probe).context("what is asked")?;
    let mut results = Vec::new();
    let mut claims = Claims::new();
    for _ in 0..probe.times {
        match ask(&probe) {
            Ok((result, names, values)) => {
                results.push(result);
                claims = Claims::new().with("names", names).with("values", values);
            }
            Err(error) => {
                results.push(code(&error).to_owned());
                claims = Claims::new().with("error", error.to_string());
            }
        }
    }
    let left = deadline::remaining().as_millis().to_string();
    Ok(claims.with("results", results).with("left_ms", left))
}

/// How many entries there are, or whether the password is right; the entries' names, at most 20; the first one's values.
fn ask(probe: &Probe) -> std::result::Result<(String, Vec<String>, Vec<String>), Error> {
    let timeout = Duration::from_millis(probe.timeout_ms.unwrap_or(10_000));
    let upstream = directory(probe.upstream.as_str()).timeout(timeout);
    if let Some(dn) = &probe.dn {
        let is_right = upstream.authenticate(dn, &probe.password)?;
        return Ok((is_right.to_string(), Vec::new(), Vec::new()));
    }
    let mut search = upstream
        .search(probe.filter.as_str())
        .attributes(probe.attributes.iter().cloned());
    search = search.scope(match probe.scope.as_str() {
        "base" => Scope::Base,
        "one-level" => Scope::OneLevel,
        _ => Scope::Subtree,
    });
    if let Some(base) = &probe.base {
        search = search.base(base.as_str());
    }
    for (name, value) in &probe.arguments {
        search = search.argument(name.as_str(), value);
    }
    let entries = search.entries()?;
    let names = entries.iter().take(20).map(|entry| entry.dn().to_owned());
    let values = entries.first().map(values).unwrap_or_default();
    Ok((entries.len().to_string(), names.collect(), values))
}

/// Each value with its attribute; bytes that are no text as their number.
fn values(entry: &Entry) -> Vec<String> {
    let shown = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} bytes", value.len()),
    };
    let attributes = entry.attributes();
    let values = attributes.flat_map(|name| entry.values(name).map(move |value| format!("{name}: {}", shown(value))));
    values.collect()
}

const fn code(error: &Error) -> &'static str {
    match error {
        Error::NotGranted(_) => "not-granted",
        Error::NotAllowed(_) => "not-allowed",
        Error::Invalid(_) => "invalid",
        Error::TooLarge(_) => "too-large",
        Error::Failed(_) => "failed",
        Error::Unavailable(_) => "unavailable",
        Error::QuotaExceeded => "quota-exceeded",
        Error::DeadlineExceeded => "deadline-exceeded",
        _ => "other",
    }
}
