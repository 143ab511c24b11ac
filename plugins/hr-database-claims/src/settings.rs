//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;

use claimsmith_plugin::sql;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What is asked, and what becomes of the answer.
#[derive(Debug)]
#[claimsmith_plugin::settings]
pub(crate) struct Settings {
    /// The upstream.
    #[serde(default = "database")]
    pub(crate) database: sql::Database,
    /// The statement's name.
    #[serde(deserialize_with = "not_empty")]
    pub(crate) statement: String,
    /// The statement's parameters: where each is found in the callout.
    #[serde(default = "parameters")]
    pub(crate) parameters: Vec<String>,
    /// By their ids, the claims.
    #[serde(deserialize_with = "some")]
    pub(crate) claims: BTreeMap<String, Claim>,
    /// What happens when there is no row.
    #[serde(default)]
    pub(crate) missing: Missing,
    /// The claims of a user of whom there is no row.
    #[serde(default)]
    pub(crate) defaults: BTreeMap<String, String>,
}

/// A claim as the operator writes it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub(crate) struct Claim {
    /// The column it is in.
    pub(crate) column: String,
    /// Whether its values are those of all rows, and not that of the first.
    pub(crate) all_rows: bool,
    /// What the database's values are called in the token.
    pub(crate) map: Option<BTreeMap<String, String>>,
    /// What becomes of those that `map` does not have.
    pub(crate) unmapped: Unmapped,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(deserialize_with = "not_empty")]
    column: String,
    #[serde(default)]
    all_rows: bool,
    map: Option<BTreeMap<String, String>>,
    unmapped: Option<Unmapped>,
}

impl TryFrom<Document> for Claim {
    type Error = &'static str;

    fn try_from(document: Document) -> Result<Self, Self::Error> {
        if document.unmapped.is_some() && document.map.is_none() {
            return Err("`unmapped` without a `map`");
        }
        Ok(Self {
            column: document.column,
            all_rows: document.all_rows,
            map: document.map,
            unmapped: document.unmapped.unwrap_or_default(),
        })
    }
}

/// What happens to a user of whom there is no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Missing {
    /// The defaults, or no claims.
    #[default]
    Omit,
    /// The plugin fails with `rejected`.
    Reject,
}

/// What becomes of a value that has no other name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unmapped {
    /// It is left out.
    #[default]
    Drop,
    /// It stays as it is.
    Keep,
}

fn database() -> sql::Database {
    sql::database("hr")
}

fn parameters() -> Vec<String> {
    vec!["user.mail".to_owned()]
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() {
        return Err(D::Error::custom("expected a name, which is not empty"));
    }
    Ok(name)
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Claim>, D::Error> {
    let claims = BTreeMap::deserialize(deserializer)?;
    if claims.is_empty() || claims.contains_key("") {
        return Err(D::Error::custom("expected at least one claim, each by its id"));
    }
    Ok(claims)
}
