//! Why a token is refused.

use claimsmith_contract::Outcome;
use jsonwebtoken::Algorithm;
use uuid::Uuid;

use crate::metadata::FetchPause;

/// Why a token is refused. The messages go to the log: they name what was found and expected, never the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization: Bearer` header, or more than one.
    #[error("{0}; Entra sends exactly one `Authorization: Bearer <token>` header")]
    Missing(&'static str),
    /// Not a JWT like Entra's.
    #[error(
        "the token is malformed: {0}; no token of Entra's is like that: to explain one, take it whole, as it was sent"
    )]
    Malformed(String),
    /// `alg` is not allowed.
    #[error(
        "the token's alg is {found}, allowed are {allowed:?}; Entra signs with RS256, so this token is not Entra's"
    )]
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
    /// No document has the key, as each was last fetched.
    #[error(
        "no metadata document of issuer {issuer} has the token's kid {kid}, they have {known:?}; {}name the document that has it in the \
             directory's metadata: external directories sign with keys that only their ciamlogin.com document has",
        unless_new(pause.as_ref())
    )]
    UnknownKey {
        /// The token's key id.
        kid: String,
        /// The token's issuer.
        issuer: String,
        /// Key ids that the issuer's documents have.
        known: Vec<String>,
        /// A document that was not fetched for the key.
        pause: Option<FetchPause>,
    },
    /// A document that could have the key could not be fetched, since the start or when the key was looked for.
    #[error(
        "the signing keys could not be fetched: {0}; check the directory's metadata URL, and that it can be \
             reached from this machine"
    )]
    KeysUnavailable(String),
    /// The signature does not verify.
    #[error(
        "the token's signature does not verify with key {kid}; the token was cut or changed after it was signed, or \
             signed by somebody else: get a new one and copy it whole"
    )]
    Signature {
        /// The key that was tried.
        kid: String,
    },
    /// `exp` is past.
    #[error(
        "the token's exp is {exp}, which was {seconds_ago} s ago, expected at most the clock leeway of {leeway} s; get a \
             new token (Entra's live 60 to 90 minutes), and compare the clocks if it is new"
    )]
    Expired {
        /// `exp`, seconds since 1970.
        exp: u64,
        /// How far clocks may differ, in seconds.
        leeway: u64,
        /// Seconds since `exp`.
        seconds_ago: u64,
    },
    /// `nbf` is in the future.
    #[error(
        "the token's nbf is {nbf}, which is in {seconds_ahead} s, expected at most the clock leeway of {leeway} s; compare \
             this machine's clock with a time server"
    )]
    NotYetValid {
        /// `nbf`, seconds since 1970.
        nbf: u64,
        /// How far clocks may differ, in seconds.
        leeway: u64,
        /// Seconds until `nbf`.
        seconds_ahead: u64,
    },
    /// `ver` is unknown.
    #[error("the token's ver is {found}, expected 1.0 or 2.0; no other is known of Entra's access tokens")]
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
    /// The token is a user's, and only applications' own are accepted.
    #[error(
        "the token's {member} is {found}, as in a token that an application got for a user; callouts come with an \
             application's own token, without scp and with idtyp app if any: get one by client credentials \
             (grant_type=client_credentials)"
    )]
    UserToken {
        /// `scp` or `idtyp`.
        member: &'static str,
        /// What the token says.
        found: String,
    },
    /// `tid` is not the directory's.
    #[error(
        "the token's tid is {found}, expected {expected}, the directory of its issuer and key; \
             get a token of that directory, or add the other one to the tenant's directories if it is yours"
    )]
    Tenant {
        /// What the token says.
        found: String,
        /// The directory whose key signed the token.
        expected: Uuid,
    },
    /// `aud` is not the extension's.
    #[error(
        "the token's aud is {found}, the extension accepts {accepted:?}; v2.0 tokens carry the application id, \
             v1.0 tokens the application id or the identifier URI: add it to the extension's audiences if that \
             application is registered for it"
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
            Self::Caller { .. } | Self::UserToken { .. } => Outcome::TokenCaller,
            Self::Tenant { .. } => Outcome::TokenTenant,
            Self::Audience { .. } => Outcome::TokenAudience,
        }
    }
}

/// What precedes the advice for a key that no document has, where it could be one that was published just now.
fn unless_new(pause: Option<&FetchPause>) -> String {
    pause
        .map(|pause| format!("{pause}; if it is an older one, "))
        .unwrap_or_default()
}

/// Text from an unverified token, fit for a log line: quoted, control characters escaped, at most 200 characters.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    let ellipsis = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{ellipsis}")
}
