//! Why a token is refused.

use claimsmith_contract::Outcome;
use jsonwebtoken::Algorithm;
use uuid::Uuid;

/// Why a token is refused. The messages go to the log: they name what was found and expected, never the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization: Bearer` header, or more than one.
    #[error("{0}; Entra sends exactly one `Authorization: Bearer <token>` header")]
    Missing(&'static str),
    /// Not a JWT like Entra's.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// `alg` is not allowed.
    #[error("the token's alg is {found}, allowed are {allowed:?}")]
    Algorithm {
        /// What the header says.
        found: String,
        /// What the policy allows.
        allowed: Vec<Algorithm>,
    },
    /// `iss` is not accepted.
    #[error(
        "the token's iss is {found}, the tenant accepts {accepted:?}; add the issuer or its metadata document to \
             the tenant's directory if it is yours"
    )]
    Issuer {
        /// What the token says.
        found: String,
        /// What the tenant's documents and configuration accept.
        accepted: Vec<String>,
    },
    /// No document has the key.
    #[error(
        "no metadata document of issuer {issuer} has the token's kid {kid}; external tenants sign with keys that \
             only their ciamlogin.com document has"
    )]
    UnknownKey {
        /// The token's key id.
        kid: String,
        /// The token's issuer.
        issuer: String,
    },
    /// No document's keys could be fetched since the start.
    #[error("the signing keys could not be fetched yet: {0}")]
    KeysUnavailable(String),
    /// The signature does not verify.
    #[error("the token's signature does not verify with key {kid}")]
    Signature {
        /// The key that was tried.
        kid: String,
    },
    /// `exp` is past.
    #[error("the token expired {seconds_ago} s ago")]
    Expired {
        /// Seconds since `exp`.
        seconds_ago: u64,
    },
    /// `nbf` is in the future.
    #[error("the token is valid in {seconds_ahead} s only; compare the clocks")]
    NotYetValid {
        /// Seconds until `nbf`.
        seconds_ahead: u64,
    },
    /// `ver` is unknown.
    #[error("the token's ver is {found}, expected 1.0 or 2.0")]
    Version {
        /// What the token says.
        found: String,
    },
    /// `azp` (v2.0) or `appid` (v1.0) is not Entra's.
    #[error(
        "the token's {member} is {found}, expected {expected}; a token of your own application is accepted only \
             when `accept_callers` lists that application"
    )]
    Caller {
        /// `azp` or `appid`.
        member: &'static str,
        /// What the token says.
        found: String,
        /// Who must call.
        expected: Uuid,
    },
    /// `tid` is not the directory's.
    #[error("the token's tid is {found}, expected {expected}")]
    Tenant {
        /// What the token says.
        found: String,
        /// The directory whose key signed the token.
        expected: Uuid,
    },
    /// `aud` is not the extension's.
    #[error(
        "the token's aud is {found}, the extension accepts {accepted:?}; v2.0 tokens carry the application id, \
             v1.0 tokens the application id or the identifier URI"
    )]
    Audience {
        /// What the token says.
        found: String,
        /// The extension's audiences.
        accepted: Vec<String>,
    },
}

impl TokenError {
    /// The callout's outcome.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Missing(_) => Outcome::TokenMissing,
            Self::Malformed(_) => Outcome::TokenMalformed,
            Self::Algorithm { .. } => Outcome::TokenAlgorithm,
            Self::Issuer { .. } => Outcome::TokenIssuer,
            Self::UnknownKey { .. } => Outcome::TokenUnknownKey,
            Self::KeysUnavailable(_) => Outcome::KeysUnavailable,
            Self::Signature { .. } => Outcome::TokenSignature,
            Self::Expired { .. } => Outcome::TokenExpired,
            Self::NotYetValid { .. } => Outcome::TokenNotYetValid,
            Self::Version { .. } => Outcome::TokenVersion,
            Self::Caller { .. } => Outcome::TokenCaller,
            Self::Tenant { .. } => Outcome::TokenTenant,
            Self::Audience { .. } => Outcome::TokenAudience,
        }
    }
}

/// Text from an unverified token, fit for a log line: quoted, control characters escaped, at most 200 characters.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    let ellipsis = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{ellipsis}")
}
