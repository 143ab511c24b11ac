//! The answer to tokenIssuanceStart: claims, their guard and their wire form (contract.md, section 1.1).

use std::collections::HashSet;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event::Event;
use crate::outcome::Outcome;

/// How many bytes of UTF-8 the ids and values of all claims may have together by default. Entra documents "3 KB"
/// without saying of what; 3,000 bytes is within every reading.
pub const DEFAULT_MAX_CLAIM_BYTES: usize = 3_000;

const ACTION_TYPE: &str = "microsoft.graph.tokenIssuanceStart.provideClaimsForToken";

/// A claim's value: what Entra accepts, a string or an array of strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
}

impl ClaimValue {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Texts(texts) => texts.iter().map(String::len).sum(),
        }
    }
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What Entra's claims mapping policy names as `ID`; upper and lower case differ.
    pub id: String,
    /// The value.
    pub value: ClaimValue,
}

/// Why claims may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Ids and values are too large together.
    #[error(
        "the claims have {bytes} bytes, Entra accepts {limit} (1003025); the largest is `{largest}` with {largest_bytes}"
    )]
    ClaimsTooLarge {
        /// Bytes of all ids and values.
        bytes: usize,
        /// How many are accepted.
        limit: usize,
        /// The id of the largest claim.
        largest: String,
        /// Its bytes.
        largest_bytes: usize,
    },
    /// A claim has no id.
    #[error("claim {position} has an empty id, which Entra does not accept (1003026)")]
    EmptyClaimId {
        /// Which claim, counted from 1.
        position: usize,
    },
    /// Two claims have one id.
    #[error("claim `{id}` is answered twice; a claim can have several values as an array")]
    DuplicateClaimId {
        /// The id.
        id: String,
    },
}

impl GuardError {
    /// The callout's outcome.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::ClaimsTooLarge { .. } => Outcome::ClaimsTooLarge,
            Self::EmptyClaimId { .. } => Outcome::EmptyClaimId,
            Self::DuplicateClaimId { .. } => Outcome::DuplicateClaimId,
        }
    }
}

/// Checks claims before they are sent.
///
/// # Errors
/// The first rule of Entra's that the claims break.
pub fn guard(claims: &[Claim], max_bytes: usize) -> Result<(), GuardError> {
    let mut ids = HashSet::with_capacity(claims.len());
    let mut bytes = 0;
    for (index, claim) in claims.iter().enumerate() {
        if claim.id.trim().is_empty() {
            return Err(GuardError::EmptyClaimId { position: index + 1 });
        }
        if !ids.insert(claim.id.as_str()) {
            return Err(GuardError::DuplicateClaimId { id: claim.id.clone() });
        }
        bytes += claim_bytes(claim);
    }
    if bytes > max_bytes {
        let largest = claims.iter().max_by_key(|claim| claim_bytes(claim));
        return Err(GuardError::ClaimsTooLarge {
            bytes,
            limit: max_bytes,
            largest: largest
                .map(|claim| claim.id.chars().take(128).collect())
                .unwrap_or_default(),
            largest_bytes: largest.map(claim_bytes).unwrap_or_default(),
        });
    }
    Ok(())
}

fn claim_bytes(claim: &Claim) -> usize {
    claim.id.len() + claim.value.bytes()
}

/// The response body. Pass only claims that [`guard`] accepted.
#[must_use]
pub fn render(claims: &[Claim]) -> Vec<u8> {
    let response = Response {
        data: Data {
            odata_type: Event::TokenIssuanceStart.response_data_type(),
            actions: [Action {
                odata_type: ACTION_TYPE,
                claims: Claims(claims),
            }],
        },
    };
    // Serialising text to memory cannot fail; the empty vector would be refused by Entra (1003009).
    serde_json::to_vec(&response).unwrap_or_default()
}

#[derive(Serialize)]
struct Response<'a> {
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    actions: [Action<'a>; 1],
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    claims: Claims<'a>,
}

struct Claims<'a>(&'a [Claim]);

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for claim in self.0 {
            map.serialize_entry(&claim.id, &claim.value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, ClaimValue, DEFAULT_MAX_CLAIM_BYTES, GuardError, guard, render};

    fn claim(id: &str, value: &str) -> Claim {
        Claim {
            id: id.to_owned(),
            value: ClaimValue::Text(value.to_owned()),
        }
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
            String::from_utf8(render(&claims)).expect("UTF-8"),
            r#"{"data":{"@odata.type":"microsoft.graph.onTokenIssuanceStartResponseData","actions":[{"@odata.type":"microsoft.graph.tokenIssuanceStart.provideClaimsForToken","claims":{"tier":"gold","roles_ext":["reader","editor"]}}]}}"#
        );
        assert!(
            String::from_utf8(render(&[]))
                .expect("UTF-8")
                .contains(r#""claims":{}"#)
        );
    }

    #[test]
    fn the_size_counts_bytes_of_ids_and_values() {
        let at_limit = [claim("é", &"x".repeat(DEFAULT_MAX_CLAIM_BYTES - 2))];
        assert_eq!(guard(&at_limit, DEFAULT_MAX_CLAIM_BYTES), Ok(()));
        let over = [claim("é", &"x".repeat(DEFAULT_MAX_CLAIM_BYTES - 1)), claim("b", "")];
        assert_eq!(
            guard(&over, DEFAULT_MAX_CLAIM_BYTES),
            Err(GuardError::ClaimsTooLarge {
                bytes: DEFAULT_MAX_CLAIM_BYTES + 2,
                limit: DEFAULT_MAX_CLAIM_BYTES,
                largest: "é".to_owned(),
                largest_bytes: DEFAULT_MAX_CLAIM_BYTES + 1,
            })
        );
    }

    #[test]
    fn ids_must_be_there_and_differ() {
        assert_eq!(
            guard(&[claim(" ", "x")], 10),
            Err(GuardError::EmptyClaimId { position: 1 })
        );
        assert_eq!(
            guard(&[claim("a", "x"), claim("a", "y")], 10),
            Err(GuardError::DuplicateClaimId { id: "a".to_owned() })
        );
        assert_eq!(guard(&[claim("a", "x"), claim("A", "y")], 10), Ok(()));
    }
}
