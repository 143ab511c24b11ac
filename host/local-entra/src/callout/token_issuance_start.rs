//! tokenIssuanceStart: after all authentication, just before a token is issued.

use serde_json::{Map, Value};

use super::event::Spec;
use super::verdict::Action;
use super::{CalloutErrorCode, Failure};

/// The only action of the event.
const PROVIDE_CLAIMS: &str = "microsoft.graph.tokenIssuanceStart.provideClaimsForToken";

/// The event's names on the wire.
pub(super) const SPEC: Spec = Spec {
    name: "tokenIssuanceStart",
    body_type: "microsoft.graph.authenticationEvent.tokenIssuanceStart",
    callout_data_type: "microsoft.graph.onTokenIssuanceStartCalloutData",
    response_data_type: "microsoft.graph.onTokenIssuanceStartResponseData",
    action_types: &[PROVIDE_CLAIMS],
    legacy_action_types: &[("microsoft.graph.ProvideClaimsForToken", PROVIDE_CLAIMS)],
};

/// The most bytes of all claim keys and values together.
///
/// Entra says 3 KB and not what it counts. Assumed: 3,072 bytes of UTF-8; of a list, the bytes of its members; of a value
/// that will be refused for its type anyway, its JSON text.
pub const MAX_CLAIMS_BYTES: usize = 3072;

/// The claims that the action provides, each a string or an array of strings.
///
/// Assumed, because Entra does not say: `null`, also inside an array, is not a string; an empty `claims` object, an empty
/// string and an empty array pass.
pub(super) fn provided_claims(action: &Action) -> Result<Map<String, Value>, Failure> {
    let claims = match action.members.get("claims") {
        None | Some(Value::Null) => {
            return Err(Failure::new(
                CalloutErrorCode::CustomExtensionNullClaimsResponse,
                format!("{} has no `claims`", action.name),
            ));
        }
        Some(Value::Object(claims)) => claims,
        Some(_) => {
            return Err(Failure::new(
                CalloutErrorCode::CustomExtensionInvalidResponseBody,
                "`claims` is not an object",
            ));
        }
    };
    if claims.contains_key("") {
        return Err(Failure::new(
            CalloutErrorCode::CustomExtensionNullOrEmptyClaimKeyNotSupported,
            "`claims` has an empty key",
        ));
    }
    let bytes: usize = claims.iter().map(|(key, value)| key.len() + value_bytes(value)).sum();
    if bytes > MAX_CLAIMS_BYTES {
        return Err(Failure::new(
            CalloutErrorCode::CustomExtensionResponseClaimsSizeExceeded,
            format!("the claims have {bytes} bytes, {MAX_CLAIMS_BYTES} are allowed"),
        ));
    }
    if let Some((key, _)) = claims.iter().find(|(_, value)| !is_claim_value(value)) {
        return Err(Failure::new(
            CalloutErrorCode::CustomExtensionInvalidResponseBody,
            format!("the claim `{key}` is neither a string nor an array of strings"),
        ));
    }
    Ok(claims.clone())
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(members) => members.iter().map(value_bytes).sum(),
        other => other.to_string().len(),
    }
}

fn is_claim_value(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(members) => members.iter().all(Value::is_string),
        _ => false,
    }
}
