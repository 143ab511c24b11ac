//! verifiedIdClaimValidation: a user who recovers an account has presented a Verified ID.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::event::Spec;
use super::verdict::{Action, invalid};
use super::{Failure, Identity};

const PASS: &str = "microsoft.graph.verifiedIdClaimValidation.pass";
const FAILED: &str = "microsoft.graph.verifiedIdClaimValidation.failed";

/// The event's names on the wire.
pub(super) const SPEC: Spec = Spec {
    name: "verifiedIdClaimValidation",
    body_type: "microsoft.graph.authenticationEvent.verifiedIdClaimValidation",
    callout_data_type: "microsoft.graph.onVerifiedIdClaimValidationCalloutData",
    response_data_type: "microsoft.graph.onVerifiedIdClaimValidationResponseData",
    action_types: &[PASS, FAILED],
    legacy_action_types: &[],
};

/// `verifiedIdClaimsContext`: what the user presented. Members that are empty are omitted, except the claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifiedIdClaims {
    /// Identities of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    /// What the directory adds, such as `employeeId`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_info: BTreeMap<String, String>,
    /// The Verified ID's claims, such as `firstName`.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
}

/// What the extension says about the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClaimValidation {
    /// They are the user's.
    Pass,
    /// These are not.
    Failed(Vec<String>),
}

impl VerifiedIdClaims {
    /// The event's own members of `data`.
    pub(crate) fn to_data(&self) -> Map<String, Value> {
        Map::from_iter([("verifiedIdClaimsContext".to_owned(), json!(self))])
    }
}

/// Reads the action. Assumed: `failedClaims` has to be there and may be empty; names that were not sent only warn.
pub(super) fn read(action: &mut Action, sent: &VerifiedIdClaims) -> Result<ClaimValidation, Failure> {
    if action.name == PASS {
        return Ok(ClaimValidation::Pass);
    }
    let Some(Value::Array(members)) = action.members.get("failedClaims") else {
        return Err(invalid("`failedClaims` is missing or not an array"));
    };
    let mut failed = Vec::with_capacity(members.len());
    let mut warnings = Vec::new();
    for member in members {
        let Value::String(name) = member else {
            return Err(invalid("`failedClaims` has a member that is not a string"));
        };
        if !sent.claims.contains_key(name) {
            warnings.push(format!("the claim `{name}` was not in the request"));
        }
        failed.push(name.clone());
    }
    if failed.is_empty() {
        warnings.push("`failedClaims` is empty".to_owned());
    }
    action.warnings.append(&mut warnings);
    Ok(ClaimValidation::Failed(failed))
}
