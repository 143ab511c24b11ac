//! The answer to tokenIssuanceStart: claims, their guard and their wire form (contract.md, section 1.1).

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::guard::GuardError;
use crate::render::{self, Pairs};
use crate::schema::leaf::filled;

/// How many bytes of UTF-8 the ids and values of all claims may have together by default. Entra documents "3 KB"
/// without saying of what; 3,000 bytes is within every reading.
pub const DEFAULT_MAX_CLAIM_BYTES: usize = 3_000;

/// Every reading of Entra's "3 KB": more is not sent, whatever is configured.
pub const MAX_CLAIM_BYTES: usize = 3_072;

/// How many of the largest claims an error accounts for.
const ACCOUNTED_CLAIMS: usize = 64;

/// A claim's value: what Entra accepts, a string or an array of strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClaimValue {
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What Entra's claims mapping policy names as `ID`; upper and lower case differ.
    pub id: String,
    /// The value.
    pub value: ClaimValue,
}

impl Claim {
    fn bytes(&self) -> usize {
        let value = match &self.value {
            ClaimValue::Text(text) => text.len(),
            ClaimValue::Texts(texts) => texts.iter().map(String::len).sum(),
        };
        self.id.len() + value
    }
}

/// Checks claims, and gives them their wire form.
///
/// # Errors
/// The first rule of Entra's that the claims break.
pub fn respond(claims: &[Claim], max_bytes: usize) -> Result<Vec<u8>, GuardError> {
    check(claims, max_bytes)?;
    let pairs: Vec<_> = claims.iter().map(|claim| (claim.id.as_str(), &claim.value)).collect();
    let action = Wire::ProvideClaims { claims: Pairs(&pairs) };
    Ok(render::response(Event::TokenIssuanceStart, &action, None))
}

/// Checks claims.
///
/// # Errors
/// The first rule of Entra's that the claims break.
pub fn check(claims: &[Claim], max_bytes: usize) -> Result<(), GuardError> {
    let mut ids = HashSet::with_capacity(claims.len());
    for (index, claim) in claims.iter().enumerate() {
        if claim.id.trim().is_empty() {
            return Err(GuardError::EmptyClaimId { position: index + 1 });
        }
        if !ids.insert(claim.id.as_str()) {
            return Err(GuardError::duplicate_claim_id(&claim.id));
        }
    }
    check_size(claims, max_bytes)
}

fn check_size(claims: &[Claim], limit: usize) -> Result<(), GuardError> {
    let bytes = claims.iter().map(Claim::bytes).sum();
    if bytes <= limit {
        return Ok(());
    }
    let mut largest: Vec<_> = claims.iter().map(|claim| (claim.id.as_str(), claim.bytes())).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    largest.truncate(ACCOUNTED_CLAIMS);
    Err(GuardError::claims_too_large(bytes, limit, &largest))
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire<'a> {
    /// The claims reach a token if the application's claims mapping policy names them.
    #[serde(rename = "microsoft.graph.tokenIssuanceStart.provideClaimsForToken")]
    ProvideClaims {
        /// Values by id; upper and lower case differ. Ids and values have 3,000 bytes of UTF-8 in all, unless the
        /// extension is configured otherwise.
        #[schemars(extend("propertyNames" = filled()))]
        claims: Pairs<'a, &'a ClaimValue>,
    },
}

#[cfg(test)]
mod tests {
    use super::{Claim, ClaimValue, DEFAULT_MAX_CLAIM_BYTES, respond};
    use crate::guard::GuardError;

    fn claim(id: &str, value: &str) -> Claim {
        Claim {
            id: id.to_owned(),
            value: ClaimValue::Text(value.to_owned()),
        }
    }

    fn text(claims: &[Claim]) -> String {
        String::from_utf8(respond(claims, DEFAULT_MAX_CLAIM_BYTES).expect("accepted")).expect("UTF-8")
    }

    #[test]
    fn the_rendered_answer_is_the_documented_one() {
        let claims = [
            claim("tier", "gold"),
            Claim {
                id: "roles_ext".to_owned(),
                value: ClaimValue::Texts(vec!["reader".to_owned(), "editor".to_owned()]),
            },
        ];
        assert_eq!(
            text(&claims),
            r#"{"data":{"@odata.type":"microsoft.graph.onTokenIssuanceStartResponseData","actions":[{"@odata.type":"microsoft.graph.tokenIssuanceStart.provideClaimsForToken","claims":{"tier":"gold","roles_ext":["reader","editor"]}}]}}"#
        );
        assert!(text(&[]).contains(r#""claims":{}"#));
    }

    #[test]
    fn the_size_counts_bytes_of_ids_and_values() {
        let at_limit = [claim("é", &"x".repeat(DEFAULT_MAX_CLAIM_BYTES - 2))];
        assert!(respond(&at_limit, DEFAULT_MAX_CLAIM_BYTES).is_ok());
        let over = [claim("b", ""), claim("é", &"x".repeat(DEFAULT_MAX_CLAIM_BYTES - 2))];
        assert_eq!(
            respond(&over, DEFAULT_MAX_CLAIM_BYTES),
            Err(GuardError::ClaimsTooLarge {
                bytes: DEFAULT_MAX_CLAIM_BYTES + 1,
                limit: DEFAULT_MAX_CLAIM_BYTES,
                largest: vec![("é".to_owned(), DEFAULT_MAX_CLAIM_BYTES), ("b".to_owned(), 1)],
            })
        );
    }

    #[test]
    fn ids_must_be_there_and_differ() {
        assert_eq!(
            respond(&[claim(" ", "x")], 10),
            Err(GuardError::EmptyClaimId { position: 1 })
        );
        assert_eq!(
            respond(&[claim("a", "x"), claim("a", "y")], 10),
            Err(GuardError::DuplicateClaimId { id: "a".to_owned() })
        );
        assert!(respond(&[claim("a", "x"), claim("A", "y")], 10).is_ok());
    }
}
