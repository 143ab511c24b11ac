//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use claimsmith_plugin::http;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::path::Path;

/// What the operator writes.
#[derive(Debug)]
#[claimsmith_plugin::settings]
pub(crate) struct Settings {
    /// The upstream's name.
    #[serde(default = "upstream")]
    pub(crate) upstream: http::Upstream,
    /// The path of a user's resource.
    pub(crate) path: Path,
    /// A claim's id, and where its value is in the answer.
    #[serde(deserialize_with = "claims")]
    pub(crate) claims: BTreeMap<String, Pointer>,
    /// How long an answer is used without asking again.
    #[serde(default = "fresh_for", with = "humantime_serde")]
    pub(crate) fresh_for: Duration,
    /// For how long after that it is used where the API does not answer.
    #[serde(default = "stale_for", with = "humantime_serde")]
    pub(crate) stale_for: Duration,
    /// How long it is remembered that the API does not know a user.
    #[serde(default = "absent_for", with = "humantime_serde")]
    pub(crate) absent_for: Duration,
}

/// A place in a JSON document (RFC 6901).
#[derive(Debug)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('/') {
            return Ok(Self(text));
        }
        Err(D::Error::custom(
            "expected where the value is in the API's answer, as a JSON pointer such as \"/membership/tier\"",
        ))
    }
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Pointer>, D::Error> {
    let claims = BTreeMap::deserialize(deserializer)?;
    if claims.is_empty() || claims.contains_key("") {
        return Err(D::Error::custom(
            "expected at least one claim's id, which is not empty, with a JSON pointer",
        ));
    }
    Ok(claims)
}

fn upstream() -> http::Upstream {
    http::upstream("crm")
}

const fn fresh_for() -> Duration {
    Duration::from_mins(5)
}

const fn stale_for() -> Duration {
    Duration::from_mins(55)
}

const fn absent_for() -> Duration {
    Duration::from_mins(1)
}
