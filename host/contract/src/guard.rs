//! Why a plugin's answer may not be sent: each rule of Entra's, before Entra finds it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::entra_error::EntraError;
use crate::outcome::Outcome;
use crate::schema::leaf::{Filled, without_null};

/// How many bytes of UTF-8 a title may have. Entra documents no limit; a longer one is no title.
pub const MAX_TITLE_BYTES: usize = 256;
/// How many bytes of UTF-8 a message may have. Entra documents no limit.
pub const MAX_MESSAGE_BYTES: usize = 2_048;

/// How many bytes an answer may have by default. Entra has a limit (1003024) and does not document it; what fits is far
/// more than any documented answer has.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Takes an answer's wire form if it is not too large.
///
/// # Errors
/// [`GuardError::ResponseTooLarge`]
pub fn check_response_size(body: Vec<u8>, limit: usize) -> Result<Vec<u8>, GuardError> {
    let bytes = body.len();
    if bytes <= limit {
        return Ok(body);
    }
    Err(GuardError::ResponseTooLarge { bytes, limit })
}

/// Why an answer may not be sent. Names in the messages are cut, values are left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Ids and values are too large together.
    #[error(
        "the claims have {bytes} bytes, Entra accepts {limit}; the largest are {}",
        account(largest)
    )]
    ClaimsTooLarge {
        /// Bytes of all ids and values.
        bytes: usize,
        /// How many are accepted.
        limit: usize,
        /// The largest claims and their bytes, largest first.
        largest: Vec<(String, usize)>,
    },
    /// A claim has no id.
    #[error("claim {position} has an empty id, which Entra does not accept")]
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
    /// An attribute that the request does not have.
    #[error("attribute `{name}` is not one of the request's; names differ between the two events")]
    UnknownAttribute {
        /// The name.
        name: String,
    },
    /// An attribute occurs twice.
    #[error("attribute `{name}` is answered twice")]
    DuplicateAttribute {
        /// The name.
        name: String,
    },
    /// A value of another type than the attribute's.
    #[error("the value of attribute `{name}` has another type than the request's: expected {expected}")]
    AttributeType {
        /// The name.
        name: String,
        /// What the attribute's values are.
        expected: &'static str,
    },
    /// A text that people read is missing or too long.
    #[error("{what} has {bytes} bytes, expected 1 to {limit}")]
    TextLength {
        /// Which text.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The whole answer is too large.
    #[error("the answer has {bytes} bytes, at most {limit} are sent")]
    ResponseTooLarge {
        /// Bytes of the answer's JSON.
        bytes: usize,
        /// How many are sent.
        limit: usize,
    },
    /// A failed claim without a name.
    #[error("failed claim {position} has no name")]
    EmptyFailedClaim {
        /// Which, counted from 1.
        position: usize,
    },
}

/// How much of a plugin's name is shown.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn account(largest: &[(String, usize)]) -> String {
    let texts: Vec<_> = largest
        .iter()
        .map(|(id, bytes)| format!("`{id}` with {bytes}"))
        .collect();
    texts.join(", ")
}

impl GuardError {
    pub(crate) fn claims_too_large(bytes: usize, limit: usize, largest: &[(&str, usize)]) -> Self {
        Self::ClaimsTooLarge {
            bytes,
            limit,
            largest: largest.iter().map(|(id, bytes)| (short(id), *bytes)).collect(),
        }
    }

    pub(crate) fn duplicate_claim_id(id: &str) -> Self {
        Self::DuplicateClaimId { id: short(id) }
    }

    pub(crate) fn unknown_attribute(name: &str) -> Self {
        Self::UnknownAttribute { name: short(name) }
    }

    pub(crate) fn duplicate_attribute(name: &str) -> Self {
        Self::DuplicateAttribute { name: short(name) }
    }

    pub(crate) fn attribute_type(name: &str, expected: &'static str) -> Self {
        Self::AttributeType {
            name: short(name),
            expected,
        }
    }

    /// What Entra would say of the answer.
    #[must_use]
    pub const fn entra_error(&self) -> EntraError {
        match self {
            Self::ClaimsTooLarge { .. } => EntraError::ResponseClaimsSizeExceeded,
            Self::ResponseTooLarge { .. } => EntraError::ResponseSizeExceeded,
            Self::EmptyClaimId { .. } => EntraError::NullOrEmptyClaimKeyNotSupported,
            Self::DuplicateClaimId { .. }
            | Self::UnknownAttribute { .. }
            | Self::DuplicateAttribute { .. }
            | Self::AttributeType { .. }
            | Self::TextLength { .. }
            | Self::EmptyFailedClaim { .. } => EntraError::InvalidResponseBody,
        }
    }

    /// The callout's outcome.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::ClaimsTooLarge { .. } => Outcome::ClaimsTooLarge,
            Self::EmptyClaimId { .. } => Outcome::EmptyClaimId,
            Self::DuplicateClaimId { .. } => Outcome::DuplicateClaimId,
            Self::UnknownAttribute { .. } => Outcome::UnknownAttribute,
            Self::DuplicateAttribute { .. } => Outcome::DuplicateAttribute,
            Self::AttributeType { .. } => Outcome::AttributeType,
            Self::TextLength { .. } => Outcome::TextLength,
            Self::ResponseTooLarge { .. } => Outcome::ResponseTooLarge,
            Self::EmptyFailedClaim { .. } => Outcome::EmptyFailedClaim,
        }
    }
}

/// A page that ends a sign-up or sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct BlockPage {
    /// The title; Entra chooses one when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Filled>", transform = without_null)]
    pub title: Option<String>,
    /// What the person reads.
    #[schemars(with = "Filled")]
    pub message: String,
}

impl BlockPage {
    pub(crate) fn guard(&self) -> Result<(), GuardError> {
        if let Some(title) = &self.title {
            check_text("the block page's title", title, MAX_TITLE_BYTES)?;
        }
        check_text("the block page's message", &self.message, MAX_MESSAGE_BYTES)
    }
}

/// A text that people read must be there, and fit. Space around it is sent, too: it counts, and is no text alone.
pub(crate) fn check_text(what: &'static str, text: &str, limit: usize) -> Result<(), GuardError> {
    let bytes = if text.trim().is_empty() { 0 } else { text.len() };
    if (1..=limit).contains(&bytes) {
        return Ok(());
    }
    Err(GuardError::TextLength { what, bytes, limit })
}
