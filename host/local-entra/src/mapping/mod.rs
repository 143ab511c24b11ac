//! Claims mapping: which returned claims reach a token, under which name.
//!
//! Nothing that an extension returns is in a token unless the claims mapping policy of the application names it, exactly:
//! ids are case sensitive. An entry may not emit a name of Entra's restricted claim set, nor one that begins with `xms_` or
//! `extn.`. Names are compared exactly here too; whether Entra folds letter case is not known. A mapped claim replaces a
//! claim of the basic set that has the same name.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{ClaimsMappingPolicy, MappingSource, SchemaEntry};

/// Entra's restricted claim set for JWTs, one name a line.
const RESTRICTED_JWT_NAMES: &str = include_str!("restricted_jwt_names.txt");
/// What restricted names may begin with.
const RESTRICTED_PREFIXES: [&str; 2] = ["xms_", "extn."];

/// What became of the claims that an extension returned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MappingReport {
    /// Ids that are in the token, with the name they have there.
    pub mapped: Vec<MappedClaim>,
    /// Ids that were returned and that no entry of the policy names. Entra drops them silently.
    pub dropped: Vec<String>,
    /// Entries that would emit a restricted name.
    pub refused: Vec<MappedClaim>,
    /// Ids that the policy names and that were not returned.
    pub missing: Vec<String>,
    /// What was probably meant, and what is not simulated.
    pub hints: Vec<String>,
}

/// A claim's id and its name in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappedClaim {
    /// Id in the extension's answer; absent for a fixed value.
    pub id: Option<String>,
    /// Name in the token.
    pub jwt_claim_type: String,
}

/// Applies a policy to returned claims: what is to be added to the token, and the report.
pub(crate) fn apply(
    policy: Option<&ClaimsMappingPolicy>,
    returned: &Map<String, Value>,
) -> (Map<String, Value>, MappingReport) {
    let mut added = Map::new();
    let mut report = MappingReport::default();
    let entries = policy.map(ClaimsMappingPolicy::entries).unwrap_or_default();
    for entry in entries {
        apply_entry(entry, returned, &mut added, &mut report);
    }
    let from_extension = entries
        .iter()
        .filter(|entry| entry.source == Some(MappingSource::CustomClaimsProvider));
    let named: Vec<&str> = from_extension.filter_map(|entry| entry.id.as_deref()).collect();
    report.dropped = returned
        .keys()
        .filter(|id| !named.contains(&id.as_str()))
        .cloned()
        .collect();
    if policy.is_none() && !returned.is_empty() {
        report
            .hints
            .push("the application has no claims mapping policy, so no returned claim reaches its tokens".into());
    }
    let near_misses: Vec<String> = report
        .missing
        .iter()
        .filter_map(|id| {
            let found = report
                .dropped
                .iter()
                .find(|dropped| dropped.to_lowercase() == id.to_lowercase())?;
            Some(format!(
                "the policy maps `{id}`, the answer has `{found}`: ids are case sensitive"
            ))
        })
        .collect();
    report.hints.extend(near_misses);
    (added, report)
}

/// Whether a policy would put anything into a JWT.
pub(crate) fn maps_anything(policy: &ClaimsMappingPolicy) -> bool {
    policy.entries().iter().any(|entry| jwt_name(entry).is_some())
}

fn apply_entry(
    entry: &SchemaEntry,
    returned: &Map<String, Value>,
    added: &mut Map<String, Value>,
    report: &mut MappingReport,
) {
    let Some(name) = jwt_name(entry) else { return };
    let claim = MappedClaim {
        id: entry.id.clone(),
        jwt_claim_type: name.to_owned(),
    };
    if is_restricted(name) {
        report
            .hints
            .push(format!("`{name}` is a restricted claim name; map to another one"));
        report.refused.push(claim);
        return;
    }
    let value = match (&entry.source, &entry.id, &entry.value) {
        (Some(MappingSource::Other(source)), ..) => {
            report.hints.push(format!(
                "claims from the source `{source}` are not simulated: `{name}` is left out"
            ));
            return;
        }
        (Some(MappingSource::CustomClaimsProvider), Some(id), _) => {
            let Some(value) = returned.get(id) else {
                if !report.missing.contains(id) {
                    report.missing.push(id.clone());
                }
                return;
            };
            value.clone()
        }
        (_, _, Some(value)) => Value::from(value.as_str()),
        _ => return,
    };
    added.insert(name.to_owned(), value);
    report.mapped.push(claim);
}

/// The entry's name in a JWT; none for an entry that is only for SAML.
fn jwt_name(entry: &SchemaEntry) -> Option<&str> {
    match (&entry.jwt_claim_type, &entry.saml_claim_type) {
        (Some(name), _) => Some(name),
        (None, None) => entry.id.as_deref(),
        (None, Some(_)) => None,
    }
}

fn is_restricted(name: &str) -> bool {
    RESTRICTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESTRICTED_JWT_NAMES.lines().any(|restricted| restricted == name)
}

#[cfg(test)]
mod tests;
