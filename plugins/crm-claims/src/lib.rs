//! Adds what an HTTP API knows of the user to the token: a CRM, a loyalty programme, any system that has one resource for
//! each person.
//!
//! See the README for the settings.

mod path;
mod settings;

use std::collections::BTreeMap;

use claimsmith_plugin::cache::{self, Ttl};
use claimsmith_plugin::{Callout, Claims, Result, log};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::Settings;

/// What is kept of an answer: the claims, and nothing else that the API has said of the user.
type Known = BTreeMap<String, ClaimValue>;

/// A claim's value.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum ClaimValue {
    Text(String),
    Texts(Vec<String>),
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let Some(filled) = settings.path.fill(callout.user()?) else {
        log::debug!("the user has not what the path wants");
        return Ok(Claims::new());
    };
    let ttl = Ttl::fresh(settings.fresh_for)
        .stale(settings.stale_for)
        .absent(settings.absent_for);
    let found = cache::find_or_fill(&filled.key(), ttl, || ask(&filled, settings))?;
    let Some(known) = found else {
        log::debug!("the API does not know the user");
        return Ok(Claims::new());
    };
    let mut claims = Claims::new();
    for (id, value) in known {
        claims = match value {
            ClaimValue::Text(text) => claims.with(&id, text),
            ClaimValue::Texts(texts) => claims.with(&id, texts),
        };
    }
    Ok(claims)
}

/// Asks the API: the user's claims, or that it does not know the user.
fn ask(filled: &path::Filled<'_>, settings: &Settings) -> Result<Option<Known>> {
    let upstream = &settings.upstream;
    let request = filled.parameters(upstream.get(filled.path()));
    let response = request.header("accept", "application/json").send()?;
    if matches!(response.status(), 404 | 410) {
        return Ok(None);
    }
    let answer: Value = response.error_for_status()?.json()?;
    let known = settings.claims.iter().filter_map(|(id, pointer)| {
        let value = claim(answer.pointer(pointer.as_str())?);
        if value.is_none() {
            log::warn!(claim = id.as_str(); "the API's answer has no text, number, truth value or list of these there");
        }
        Some((id.clone(), value?))
    });
    Ok(Some(known.collect()))
}

/// A claim of what JSON has; none of `null`.
fn claim(value: &Value) -> Option<ClaimValue> {
    match value {
        Value::Array(values) => values.iter().map(text).collect::<Option<_>>().map(ClaimValue::Texts),
        other => text(other).map(ClaimValue::Text),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
